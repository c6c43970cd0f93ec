"""Engines that run the integer network, the stepped one as the judge, and runners of other simulators."""
