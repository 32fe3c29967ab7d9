"""sleepy: train LoRA adapters for small code models, and find out whether it helped."""

import os

__version__ = "0.1.0"

# OpenMP reads these when llama.cpp or torch is loaded, so they are set before both. By default a waiting thread spins
# for long: on a busy machine it takes the core that the thread it waits for needs. With one that sleeps at once a token
# takes half as long again on a quiet machine. So it spins a thousand times, then sleeps (docs/results/main-job.md).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
