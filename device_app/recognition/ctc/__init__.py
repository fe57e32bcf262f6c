"""Decoding of CTC models: greedy, or by beam search with a language model and keyterms."""
