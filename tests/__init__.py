"""The tests. One thread for torch and OpenBLAS, also in child processes: the models are too small for a second one.

Where a process has more threads, those that wait leave the core to others instead of spinning. The libraries read both
when they are imported, hence they stand here.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
