"""Description of the machine that the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "spikingjelly", "snntorch")


def this_machine(device: str = "cpu") -> dict[str, Any]:
    """Processor or accelerator, threads, and versions of the packages that are compared."""
    name = _processor() if device == "cpu" else torch.cuda.get_device_name(device)
    return {
        "device": name,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "vnni": torch.cpu._is_vnni_supported(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in ("qac-deploy", *PACKAGES)},
    }


def _processor() -> str:
    named = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return named[1] if named else platform.processor()
