"""Learning: fine-tuning, training from nothing, hosts, the lifelong benchmark."""

import os

# What torch reads once, when it is loaded.
# oneDNN, which multiplies bfloat16, keeps code for the last 1,024 shapes: 0.4 GB, as every batch has its own.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
# Linux then backs tensors with pages of 2 MB: fresh memory costs a fault a page, a fifth of training a small conformer.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
