"""What holds for every test: one thread a process, and no deadline on a busy machine."""

import os

from hypothesis import settings

# Before torch is imported: several test processes share the machine's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")
