"""An ANN accelerator's PE array running Algorithm 2: cycles, accesses, and the same integers."""
