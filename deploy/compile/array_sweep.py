"""The sweep over unrollings as plain data, for tables, plots and JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from deploy.report.array_records import SweepRecord, UnrollingRecord
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
        designs = sweep_unrollings(network, array, mode, progress)
        front = pareto_front(designs)
        documents.append(
            SweepRecord(
                mode=mode.name,
                elements=array.unrolling.num_elements,
                left_out=num_designs - len(designs),
                designs=[
                    UnrollingRecord(
                        unrolling=asdict(design.array.unrolling),
                        mode=mode.name,
                        total_cycles=design.total_cycles,
                        utilisation=design.utilisation,
                        port_bytes=design.port_bytes,
                        off_chip_bytes=design.off_chip_bytes,
                        energy_pj=sum(design.energy_pj.values()),
                        on_front=any(design is other for other in front),
                        is_own=design.array.unrolling == array.unrolling,
                    )
                    for design in designs
                ],
            )
        )
    return documents
