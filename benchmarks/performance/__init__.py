"""How fast the exact engine is, compared with its peers; run with ``python benchmarks/performance``."""
