"""What the readers of other tools' formats have in common: the comparison with the format's own runtime."""
