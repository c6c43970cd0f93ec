"""The sweep over unrollings as plain data, for tables, plots and machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import Mode, modes_of
from hw_models.pe_array.design_space import pareto_front, sweep_unrollings, unrollings
from toolchain.integer_network import IntegerNetwork


def swept_modes(network: IntegerNetwork) -> list[Mode]:
    """The schedules of the SNN that a network allows."""
    return [mode for mode in modes_of(network) if mode.startswith("snn")]


def sweep_documents(
    network: IntegerNetwork, array: PeArray, progress: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Each schedule of the SNN on every unrolling of the array's elements.

    Args:
        progress: called after each unrolling.
    """
    documents = []
    num_designs = len(list(unrollings(array.unrolling.num_elements)))
    for mode in swept_modes(network):
        designs = sweep_unrollings(network, array, mode, lambda done: progress())
        front = pareto_front(designs)
        documents.append(
            {
                "mode": mode,
                "elements": array.unrolling.num_elements,
                "left_out": num_designs - len(designs),
                "designs": [
                    asdict(design)
                    | {"on_front": design in front, "is_own": design.unrolling == array.unrolling}
                    for design in designs
                ],
            }
        )
    return documents
