"""Compile the RTL for one array with Verilator or Icarus Verilog, and cache the result."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from typing_extensions import assert_never

from hw_models.pe_array.loop_nest import Unrolling
from toolchain.child_process import last_lines, run_child
from toolchain.errors import RtlError
from toolchain.files.lock import one_run_at_a_time
from toolchain.files.whole_files import staging

SimulatorName: TypeAlias = Literal["verilator", "icarus"]

SOURCE_FOLDER = Path(__file__).parent.parent / "sv"
DESIGN_FILES = (
    "array_pkg.sv",
    "loop_counter.sv",
    "lane_offsets.sv",
    "processing_element.sv",
    "loop_controller.sv",
    "combine_sums.sv",
    "firing_steps.sv",
    "node.sv",
    "node_unit.sv",
    "pe_array.sv",
)
RTL_CYCLES: dict[SimulatorName, int] = {"verilator": 1_000_000, "icarus": 500}
"""Most cycles of a run that no user chose: about 20 s for the 1,024 elements of the default array."""

TESTBENCH = "pe_array_testbench"
CACHE_VARIABLE = "QAC_DEPLOY_RTL_CACHE"

_PROGRAMS: dict[SimulatorName, tuple[str, ...]] = {
    "verilator": ("verilator", "make", "g++"),
    "icarus": ("iverilog", "vvp"),
}


@dataclass(frozen=True, kw_only=True)
class RtlArray:
    """Parameters of the RTL, fixed when it is compiled.

    Attributes:
        signed_operands: operands are two's complement numbers.
        sum_bits: width of partial sums, membrane potentials, biases and thresholds.
        memory_words: number of words of each memory of the testbench.
    """

    unrolling: Unrolling
    operand_bits: int
    signed_operands: bool
    weight_bits: int
    sum_bits: int
    memory_words: int

    @property
    def parameters(self) -> dict[str, int]:
        """Values by the names of the parameters in the sources."""
        return {
            "M": self.unrolling.output_channels,
            "N": self.unrolling.output_columns,
            "S": self.unrolling.timesteps,
            "V": self.unrolling.input_channels,
            "OPERAND_BITS": self.operand_bits,
            "OPERAND_SIGNED": int(self.signed_operands),
            "WEIGHT_BITS": self.weight_bits,
            "ACC_BITS": self.sum_bits,
            "DEPTH": self.memory_words,
        }


@dataclass(frozen=True, kw_only=True)
class RtlSimulator:
    """A compiled simulation, for all kernels that fit its memories."""

    array: RtlArray
    command: tuple[str, ...]

    def run(self, folder: Path, plusargs: Mapping[str, int]) -> dict[str, int]:
        """Run the testbench in a folder; returns the counters that it prints.

        Raises:
            RtlError: the simulation stops with an error.
        """
        arguments = [f"+{name}={value}" for name, value in plusargs.items()]
        said = _run([*self.command, f"+folder={folder}", *arguments], "the RTL simulation failed")
        pairs = (line.partition("=") for line in said.splitlines() if "=" in line)
        return {name: int(value) for name, _, value in pairs}


def available_simulators() -> tuple[SimulatorName, ...]:
    """Simulators whose programs are all on the PATH, the faster one first."""
    return tuple(name for name, needs in _PROGRAMS.items() if all(map(shutil.which, needs)))


def preferred_simulator() -> SimulatorName:
    """Verilator if it is installed, otherwise Icarus Verilog.

    Raises:
        RtlError: neither is installed.
    """
    for name in available_simulators():
        return name
    raise RtlError(
        "no simulator of hardware descriptions was found (verilator with make and g++, or iverilog); "
        "run `apt install verilator iverilog`"
    )


def default_cache() -> Path:
    """Folder of compiled simulations: ``QAC_DEPLOY_RTL_CACHE``, or one in the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "qac-deploy" / "rtl"


def compile_rtl(
    array: RtlArray,
    name: SimulatorName,
    *,
    cache: Path | None = None,
    sources: Path = SOURCE_FOLDER,
) -> RtlSimulator:
    """Compile the RTL for an array, unless the cache has it.

    Args:
        cache: folder of compiled simulations; None for the default one.
        sources: folder of the RTL.

    Raises:
        RtlError: the simulator is missing, or cannot compile the sources.
    """
    for program in _PROGRAMS[name]:
        if shutil.which(program) is None:
            raise RtlError(f"{program} was not found; run `apt install verilator iverilog`")
    files = [sources / file for file in (*DESIGN_FILES, f"{TESTBENCH}.sv")]
    cache = cache or default_cache()
    compiled = cache / _key(array, name, files)
    if not compiled.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            with one_run_at_a_time(cache / f"{compiled.name}.lock"):
                if not compiled.exists():  # another run may have made it meanwhile
                    with staging(compiled) as prepared:
                        prepared.new.mkdir()
                        _compile(array, name, files, prepared.new)
                        (prepared.new / "simulation").rename(compiled)
        except OSError as error:
            raise RtlError(
                f"{cache}: cannot be written ({error}); compiled simulations are kept there: make room, or "
                f"set {CACHE_VARIABLE} to another folder"
            ) from error
    run = ("vvp", "-n") if name == "icarus" else ()
    return RtlSimulator(array=array, command=(*run, str(compiled)))


def _compile(array: RtlArray, name: SimulatorName, files: Sequence[Path], folder: Path) -> None:
    """Write the compiled file ``simulation`` into the folder."""
    parameters = array.parameters.items()
    out = folder / "simulation"
    match name:
        case "icarus":
            command = ["iverilog", "-g2012", "-s", TESTBENCH, "-o", str(out)]
            command += [f"-P{TESTBENCH}.{parameter}={value}" for parameter, value in parameters]
        case "verilator":
            command = ["verilator", "--binary", "--timing", "-O3", "--top-module", TESTBENCH]
            command += ["-Wno-fatal", "-j", str(os.cpu_count() or 1)]
            command += ["--Mdir", str(folder / "objects"), "-o", str(out)]
            command += [f"-G{parameter}={value}" for parameter, value in parameters]
        case _:
            assert_never(name)
    _run([*command, *map(str, files)], f"{name} cannot compile the RTL")


def _key(array: RtlArray, name: SimulatorName, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{array.parameters} {_version(name)}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return f"{name}-{digest.hexdigest()[:20]}"


def _version(name: SimulatorName) -> str:
    option = {"verilator": "--version", "icarus": "-V"}[name]
    command = [_PROGRAMS[name][0], option]
    return run_child(command).stdout.decode(errors="replace").partition("\n")[0]


def _run(command: Sequence[str], failure: str) -> str:
    """Run a command and return its output."""
    try:
        run = run_child(command)
    except OSError as error:
        raise RtlError(f"{failure}: {command[0]} cannot be started ({error})") from error
    if run.returncode != 0:
        raise RtlError(failure, further=last_lines(run.stdout + run.stderr))
    return run.stdout.decode(errors="replace")
