"""What a user chooses for a compile run, and everything the run found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.fidelity import AlignmentTrade, Fidelity
from hw_models.multicore.initiation_interval import Change, InitiationInterval
from hw_models.multicore.mapping import Mapping as CoreMapping
from hw_models.multicore.pipeline import Pipeline
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.multicore.tick_cost import RunCost
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.estimate import ArrayEstimate
from hw_models.target_description import TargetDescription
from toolchain.checkpoint import Checkpoint
from toolchain.integer_network import IntegerNetwork
from toolchain.layer_graph import AlignmentMethod


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What a user chooses.

    Attributes:
        alignment: of every edge; as the model has it when None.
        slots: D of every alignment buffer; the target's default when None.
        data: data set for accuracy and event counts; the one the model was trained on when None.
        samples: samples in the reported pipeline run.
    """

    target: str = "loihi-sim"
    array: str = "pe-array"
    alignment: AlignmentMethod | None = None
    weight_bits: int | None = None
    slots: int | None = None
    data: str | None = None
    samples: int = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Compilation:
    """Everything a compile run found out; the report shows all of it."""

    model: Path
    options: CompileOptions
    checkpoint: Checkpoint
    target: TargetDescription
    array: PeArray
    network: IntegerNetwork
    mapping: CoreMapping
    pipeline: Pipeline
    schedule: Schedule
    interval: InitiationInterval
    changes: list[Change]
    data_name: str | None
    fidelity: Fidelity | None
    alignment_trade: list[AlignmentTrade]
    costs: Mapping[str, RunCost]
    array_estimates: list[ArrayEstimate]
