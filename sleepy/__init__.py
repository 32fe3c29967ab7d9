"""sleepy: train LoRA adapters for small code models, and find out whether it helped."""

import os

__version__ = "0.1.0"

# OpenMP reads this when llama.cpp or torch is loaded, so it is set before both. A thread that waits spins otherwise: on
# a busy machine it takes the core that the thread it waits for needs, and an answer takes 40 times as long instead of
# nine. On a quiet one it costs 15 %, and more with the smallest models (docs/results/main-job.md, bench/busy.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
