"""The record of ``report.json`` with spikes of a few samples; ``deploy.design.activity`` describes it."""

from __future__ import annotations

from typing import TypedDict


class ShownInputRecord(TypedDict):
    shape: list[int]
    strides: list[int]
    max_value: int
    pixels: list[str]


class ShownPopulationRecord(TypedDict):
    shape: list[int]
    timesteps: int
    strides: list[int]
    trains: list[str]
    histogram: list[list[int]]


class ActivityRecord(TypedDict):
    num_samples: int
    is_random: bool
    labels: list[int] | None
    logits: list[list[int]] | None
    input: ShownInputRecord
    populations: dict[str, ShownPopulationRecord]
