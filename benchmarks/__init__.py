"""Measurements that are no tests: their figures depend on the machine."""
