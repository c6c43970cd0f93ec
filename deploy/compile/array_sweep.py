"""The sweep over unrollings as plain data, for tables, plots and machines."""

from __future__ import annotations

from collections.abc import Callable

from deploy.report.records import SweepRecord, UnrollingRecord, plain
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.design_space import pareto_front, sweep_unrollings, unrollings
from hw_models.pe_array.modes import snn_schedules
from toolchain.networks.integer_network import IntegerNetwork


def sweep_documents(
    network: IntegerNetwork, array: PeArray, progress: Callable[[], None] = lambda: None
) -> list[SweepRecord]:
    """Each schedule of the SNN on every unrolling of the array's elements.

    Args:
        progress: called after each unrolling.
    """
    documents = []
    num_designs = len(list(unrollings(array.unrolling.num_elements)))
    for mode in snn_schedules(network):
        designs = sweep_unrollings(network, array, mode, lambda done: progress())
        front = pareto_front(designs)
        records: list[UnrollingRecord] = [
            plain(design)
            | {"on_front": design in front, "is_own": design.unrolling == array.unrolling}
            for design in designs
        ]
        documents.append(
            SweepRecord(
                mode=mode.name,
                elements=array.unrolling.num_elements,
                left_out=num_designs - len(designs),
                designs=records,
            )
        )
    return documents
