"""The command that compiles a design: every design, those of a search too, can be made again by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.design.compilation import CompileOptions
from toolchain.shell_words import shell_command

NEXT_BUILD = "build-next"
"""The build folder of suggested commands, so that none replaces the build that suggests it."""


def as_arguments(options: CompileOptions) -> list[str]:
    """Arguments of ``qac-deploy compile`` for all options that differ from their default, and the target."""
    return list(_arguments(options, CompileOptions()))


def compile_command(
    model: str, options: CompileOptions, *, out: str = NEXT_BUILD, accuracy: str | None = None
) -> str:
    """A whole command, quoted for a shell.

    Args:
        model: path of the model file.
        accuracy: a user's own function, ``FILE.py:FUNCTION``.
    """
    words = ["qac-deploy", "compile", Path(model), *as_arguments(options)]
    if accuracy is not None:
        words += ["--accuracy", accuracy]
    return shell_command(*words, "--out", Path(out))


def _arguments(options: CompileOptions, default: CompileOptions) -> Iterator[str]:
    yield from ("--target", options.target)
    single = {
        "--array": "array",
        "--data": "data",
        "--max-timesteps": "max_timesteps",
        "--timesteps": "uniform_timesteps",
        "--alignment": "alignment",
        "--weight-bits": "weight_bits",
        "--thresholds": "thresholds",
        "--lowering": "lowering",
        "--slots": "slots",
        "--samples": "samples",
        "--optimize": "optimize",
        "--interval": "interval",
        "--accuracy-budget": "accuracy_budget",
    }
    for option, name in single.items():
        value = getattr(options, name)
        if value != getattr(default, name):
            yield from (option, f"{value:g}" if isinstance(value, float) else str(value))
    if options.unrolling is not None:
        yield from ("--unrolling", ",".join(map(str, options.unrolling)))
    named = {
        "--timesteps": options.timesteps,
        "--align": options.alignments,
        "--slots": options.slots_of,
        "--replicate": options.replicate,
        "--tile-work": options.tile_work,
    }
    for option, values in named.items():
        for name, chosen in values.items():
            yield from (option, f"{name}={chosen}")
    if options.exchange_cores:
        yield "--exchange-cores"
