"""Time, memory and agreement of engines and peers on the same networks and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.performance import engine_subjects as subjects
from benchmarks.performance.machine import this_machine
from benchmarks.performance.networks import MIXED, write_network
from benchmarks.performance.workers import Measurement, Subject, measure
from toolchain.files.whole_files import scratch_folder

NETWORKS = ("resnet-18", "vgg-16")
BATCH = 64
FLAT = (1, 2, 4, 8, 16, 32)
"""Uniform T of the networks that show that the exact engine's time does not depend on T."""

PEERS_AT = (4, 16)
ROUNDS, SLOW_ROUNDS = 9, 3
FEW_SAMPLES = 2
"""Samples for engines that take seconds per sample, and for the exact engine that they are compared with."""

FLOAT = "float ANN"
TUNED = "float ANN, folded, channels last"
EXACT = "exact engine"


def time_engines(device: str, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure all engines and peers; returns a document for JSON.

    Raises:
        RuntimeError: one of them computes other integers than the exact engine.
    """
    rows = []
    with scratch_folder() as scratch:
        for architecture in NETWORKS:
            rows += _time_network(architecture, scratch / architecture, device, on_progress)
    return {"machine": this_machine(device), "batch": BATCH, "rows": rows}


def _time_network(
    architecture: str, folder: Path, device: str, on_progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    on_progress(f"{architecture}: converting")
    mean_timesteps = {}
    for label, steps in {"mixed": MIXED, **{str(t): (t,) for t in FLAT}}.items():
        network = write_network(architecture, steps, folder / label)
        mean_timesteps[label] = mean(p.timesteps for p in network.spiking)
    lines = list(_subjects(architecture, folder, device))
    measured = measure(lines, lambda said: on_progress(f"{architecture}, {said}"))
    return [_row(subject, mean_timesteps, measured[subject.name]) for subject in lines]


def _row(
    subject: Subject, mean_timesteps: dict[str, float], measurement: Measurement
) -> dict[str, Any]:
    setting = subject.setting
    return {
        "network": setting.architecture,
        "subject": subject.name.split(" | ")[0],
        "timesteps": setting.folder.name,
        "mean_timesteps": mean_timesteps[setting.folder.name],
        "samples": setting.samples,
        **asdict(measurement),
    }


def _subjects(architecture: str, folder: Path, device: str) -> Iterator[Subject]:
    def subject(
        name: str,
        prepare: subjects.Prepare,
        label: str = "mixed",
        samples: int = BATCH,
        rounds: int = ROUNDS,
        has_integers: bool = True,
    ) -> Subject:
        return Subject(
            name=f"{name} | T {label}, {samples} samples",
            prepare=prepare,
            setting=subjects.Setting(
                architecture=architecture, folder=folder / label, samples=samples, device=device
            ),
            rounds=rounds,
            reference=f"{EXACT} | T {label}, {samples} samples" if has_integers else None,
        )

    yield subject(FLOAT, subjects.float_ann, has_integers=False)
    yield subject(TUNED, subjects.float_ann_tuned, has_integers=False)
    for label in ("mixed", *map(str, FLAT)):
        yield subject(EXACT, subjects.exact, label)
    yield subject(f"{EXACT}, logits alone", subjects.exact_logits)
    yield subject(f"{EXACT}, float32", subjects.exact_float32)
    for label in ("mixed", *map(str, PEERS_AT)):
        yield subject(f"{EXACT}, spike trains", subjects.exact_trains, label)
    if device == "cpu":  # events are always counted on the CPU
        yield subject(f"{EXACT}, trains and events", subjects.exact_events, rounds=SLOW_ROUNDS)
    for label in map(str, PEERS_AT):
        for name, peer in (
            ("SpikingJelly", subjects.spikingjelly),
            ("snnTorch", subjects.snntorch),
        ):
            yield subject(name, peer, label, rounds=SLOW_ROUNDS)
            summed = partial(peer, convolve="the sum")
            yield subject(f"{name}, told of averaging", summed, label, rounds=SLOW_ROUNDS)
    if device == "cpu":
        yield subject(EXACT, subjects.exact, "4", FEW_SAMPLES)
        yield subject("stepped engine", subjects.stepped, "4", FEW_SAMPLES, SLOW_ROUNDS)
        yield subject("Lava on the CPU", subjects.lava, "4", FEW_SAMPLES, SLOW_ROUNDS)
