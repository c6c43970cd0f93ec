"""Run the commands that a figure is made of, and train each model once."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "model.pt": "train --data digits --out model.pt",
    "narrow-resnet-20.pt": "train --data mnist5k --arch resnet-20 --width 0.25 --epochs 4 "
    "--out narrow-resnet-20.pt",
    "lenet.pt": "train --data mnist5k --arch lenet --max-pool exact --epochs 3 --out lenet.pt",
}
"""The command that trains each model of a figure, on one thread: their number decides how sums round."""


@dataclass(kw_only=True)
class Commands:
    """Runs commands in a folder and keeps a list of them.

    Attributes:
        folder: where models and builds lie.
        ran: the commands so far, as a user types them.
    """

    folder: Path
    ran: list[str] = field(default_factory=list)

    def run(self, arguments: str) -> Any:
        """The JSON document of ``qac-deploy ARGUMENTS --json``."""
        return json.loads(self.text(arguments, "--json"))

    def text(self, arguments: str, *further: str) -> str:
        """What ``qac-deploy ARGUMENTS`` prints."""
        self._say(f"qac-deploy {arguments}")
        return self._output([*_QAC_DEPLOY, *shlex.split(arguments), *further])

    def model(self, name: str) -> str:
        """The name of a model, which is trained unless it lies in the folder."""
        if (self.folder / name).is_file():
            self.ran.append(f"qac-deploy {MODELS[name]}")
        else:
            self.text(MODELS[name])
        return name

    def script(self, code: str, said: str) -> str:
        """What a Python program prints."""
        self._say(said)
        return self._output([sys.executable, "-c", code])

    def _say(self, command: str) -> None:
        print("$", command, file=sys.stderr, flush=True)
        self.ran.append(command)

    def _output(self, command: list[str]) -> str:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "140"}
        environment["PYTHONPATH"] = str(ROOT)
        return subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout


_QAC_DEPLOY = [sys.executable, "-c", "from deploy.cli.main import main; main()"]


def made_with() -> dict[str, str]:
    """What decides a figure beside its commands: the release, PyTorch, and the processor.

    Libraries of linear algebra choose their kernels by its model, and not by its instructions alone.
    """
    (version,) = re.findall(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    return {
        "qac-deploy": version,
        "torch": torch.__version__.partition("+")[0],
        "processor": processor(),
    }


def processor() -> str:
    """Architecture, instructions and model of the processor."""
    described = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        described += [found[1].strip()] if found else []
    return ", ".join(described)


@contextmanager
def browser_page(file: Path, width: int, height: int) -> Iterator[Any]:
    """A page of Chromium in light colours, at 1.5 device pixels per pixel."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": height},
            device_scale_factor=1.5,
            color_scheme="light",
        )
        page.goto(file.resolve().as_uri())
        yield page
        browser.close()


def _chromium() -> str:
    from shutil import which

    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := which(name):
            return path
    raise FileNotFoundError("no Chromium: apt install chromium fonts-dejavu-core")
