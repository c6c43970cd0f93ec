"""The command line, the emitted Lava bundle and the reports."""
