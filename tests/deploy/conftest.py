"""Tests of SANA-FE are skipped where it is not installed."""

from __future__ import annotations

import importlib.util

import pytest


def pytest_runtest_setup(item):
    if item.get_closest_marker("sanafe") and importlib.util.find_spec("sanafe") is None:
        pytest.skip("needs SANA-FE: pip install 'qac-deploy[sanafe]'")
