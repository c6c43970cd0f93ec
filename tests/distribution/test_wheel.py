"""Wheel and source distribution: what they hold, and the wheel without torch on each Python at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.backends.lava.environment import python_version, pythons_at_hand

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("qac_deploy", "deploy", "sim", "hw_models", "toolchain")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Temporary failure in name resolution|ProxyError"
)
NOT_IN_SOURCES = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "_build", "*.actual"
)


def run(*command, cwd, **environment):
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
    )  # fmt: skip


def require_network(process):
    """Skip where pip reached no index; any other failure is one."""
    if process.returncode and NO_NETWORK.search(process.stdout + process.stderr):
        pytest.skip("no network: pip cannot install what this test needs")
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(wheel, source distribution), the wheel built from the source distribution."""
    folder = tmp_path_factory.mktemp("distributions")
    top = {"build", "demo", "dist", "results"}
    shutil.copytree(
        ROOT,
        folder / "sources",
        ignore=lambda at, names: NOT_IN_SOURCES(at, names) | (top if Path(at) == ROOT else set()),
    )
    require_network(
        run(sys.executable, "-m", "build", "--outdir", "..", ".", cwd=folder / "sources")
    )
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_the_wheel_holds_the_packages_and_their_data_and_nothing_else(distributions):
    wheel, _ = distributions
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    (information,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    packed = {name for name in names if not name.startswith(information)}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == wanted
    assert {f"{package}/py.typed" for package in PACKAGES} <= packed


def test_the_source_distribution_holds_what_builds_and_tests_the_package(distributions):
    _, source = distributions
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in ("Makefile", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"):
        assert path in names
    for folder in ("tests", "docs", "benchmarks"):
        files = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
            and not {"__pycache__", "_build", ".ipynb_checkpoints"} & set(path.parts)
            and path.suffix not in (".pyc", ".actual")
        }
        assert files <= names
    assert not any("__pycache__" in name or name.startswith(".venv") for name in names)


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_without_torch(distributions, tmp_path, version):
    """A new environment gets what reports and refusals need, and not torch."""
    found = {python_version(path): path for path in pythons_at_hand()}
    if version not in found:
        pytest.skip(f"no Python {version} on this machine")
    made = run(found[version], "-I", "-m", "venv", "venv", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    binaries = tmp_path / "venv" / "bin"
    require_network(
        run(binaries / "python", "-m", "pip", "install", "-qq", distributions[0], cwd=tmp_path)
    )
    check = run(binaries / "python", "-m", "pip", "check", cwd=tmp_path)
    assert check.returncode == 0, check.stdout
    packages = run(binaries / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    assert not re.search(r"(?mi)^(torch|nvidia|triton|lightning)", packages)

    command = binaries / "qac-deploy"
    strict = {"PYTHONWARNINGS": "error::SyntaxWarning"}
    shown = run(command, "--version", cwd=tmp_path)
    assert re.fullmatch(r"qac-deploy \d+\.\d+\.\d+\n", shown.stdout), shown.stderr
    assert run(command, "--help", cwd=tmp_path, **strict).returncode == 0
    doctor = run(command, "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stderr
    assert f"python        {version}." in doctor.stdout
    refused = run(command, "train", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: PyTorch is not installed; choose one of its builds:")
    script = (
        "import qac_deploy as qd; print(qd.__version__, qd.load_data('digits').test_pixels.shape)"
    )
    imported = run(binaries / "python", "-c", script, cwd=tmp_path, **strict)
    assert imported.stdout.endswith("(540, 1, 8, 8)\n"), imported.stderr
    compiled = run(
        binaries / "python", "-m", "compileall", "-q", *_installed(binaries), cwd=tmp_path
    )
    assert compiled.returncode == 0, compiled.stdout


def _installed(binaries):
    (site,) = (binaries.parent / "lib").glob("python*/site-packages")
    return [site / package for package in PACKAGES]
