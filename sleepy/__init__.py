"""sleepy: train LoRA adapters for small code models, and find out whether it helped."""

import os

__version__ = "0.1.0"

# OpenMP reads these when llama.cpp or torch is loaded, so they are set before both. By default a waiting thread spins
# for milliseconds: on a busy machine it takes the core that the thread it waits for needs. One that sleeps at once
# makes a token take twice as long on a quiet machine. So it spins for some microseconds, then sleeps (bench/busy.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
