"""The source neurons that add most to a traced neuron's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deploy.trace.neurons import place_text
from deploy.trace.trace import Trace
from sim.contributions import contributions


@dataclass(frozen=True, kw_only=True)
class SourceShare:
    """What a source neuron adds in a window, all steps together.

    Attributes:
        neuron: flat index in the source.
        place: ``channel:row:column``.
        value: spikes of it (or its pixels) that the steps read; an averaging synapse reads the whole count
            in every step.
        weight: what one of them adds.
        amount: ``value * weight``.
    """

    source: str
    neuron: int
    place: str
    value: int
    weight: int
    amount: int


def source_shares(trace: Trace, sample: int, most: int) -> list[list[SourceShare]]:
    """Of each traced neuron the source neurons with the largest contributions in a sample, largest first.

    Args:
        sample: one of those that are shown.
        most: number of source neurons.
    """
    run = trace.run
    batch = next(batch for batch in run.batches() if sample in batch)
    frames = run.frames(batch)
    found = []
    for neuron in trace.neurons:
        shares = []
        for synapse in run.network.incoming(trace.name):
            sent = frames[synapse.source][batch.index(sample)]
            added = contributions(run.network, synapse, neuron, sent)
            values, weights, amounts = (
                array.reshape(-1) for array in (added.values, added.weights, added.amounts)
            )
            largest = np.argsort(-np.abs(amounts), kind="stable")[:most]
            shape = run.network[synapse.source].shape
            shares += [
                SourceShare(
                    source=synapse.source,
                    neuron=at,
                    place=place_text(at, shape),
                    value=int(values[at]),
                    weight=int(weights[at]),
                    amount=int(amounts[at]),
                )
                for at in largest.tolist()
                if amounts[at]
            ]
        found.append(sorted(shares, key=lambda share: -abs(share.amount))[:most])
    return found
