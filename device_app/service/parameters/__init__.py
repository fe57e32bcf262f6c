"""Parameters of requests that every protocol has: keyterms and the language."""
