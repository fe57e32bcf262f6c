"""Fine-tuning, training from scratch, hosts that fine-tune for devices, and the lifelong benchmark."""

import os

# torch reads these variables once, when it is imported.
# oneDNN, which multiplies bfloat16, caches code for 1,024 shapes by default: 0.4 GB, as every batch has its own shape.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
# Linux then backs tensors with pages of 2 MB. With small pages, page faults take a fifth of training a small conformer.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# A thread that has finished its part of an operation sleeps until the others have, instead of spinning. Spinning is
# up to a fifth faster on idle cores; but on 2 cores of which another program uses one, an update took 1.7 times as
# long, and two fine-tunings at once took 8 times as long each as with one thread.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
