"""What holds for every test: one thread a process, no deadline on a busy machine, and the zoo on
ONNX Runtime, to whose bits answers are held, whatever its owner has compiled."""

import os

from hypothesis import settings

# Before torch is imported: several test processes share the machine's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ["NTM_CACHE"] = "/nonexistent"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # nothing is told to anybody

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")
