"""Test processes run side by side, one a core, so each computes in one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; commands inherit it
