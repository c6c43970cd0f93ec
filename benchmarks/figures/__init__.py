"""The figures of README and of the pages of ``docs/``, each made by ``python benchmarks/figures NAME``."""
