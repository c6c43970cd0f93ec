"""What writers of NIR mean by r, tau and a step of time, which the format leaves open.

The equations of NIR are in continuous time. Their step of length dt (forward Euler) adds ``r * dt`` times the
current to an IF neuron, and ``r * dt / tau`` times to a LIF neuron, which also leaks by ``dt / tau``. Writers
choose r so that this gain is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import OptionError, UnsupportedNetworkError
from toolchain.importers.nir_format.network import NirNetwork
from toolchain.importers.nir_format.nodes import Neurons

USUAL_DT = 1e-4
"""Step in seconds that snnTorch and SpikingJelly write with."""

_ROUNDING = 1e-6  # of a product of r and dt that were stored in float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Convention:
    """How the neurons of a graph are stepped.

    Attributes:
        writer: for people.
        gains: what a step adds to the membrane potential, per unit of current, of each population.
        fires_at_equality: whether a neuron fires at ``v == v_threshold``; the format says that it does not.
        notes: what was assumed, one line each.
    """

    writer: str
    gains: Mapping[str, np.ndarray]
    fires_at_equality: bool
    notes: tuple[str, ...]


def convention_of(network: NirNetwork, dt: float | None) -> Convention:
    """Recognise the writer by its r and tau, and take its time step unless one is given.

    Args:
        dt: length of a step, in the unit of the graph's time constants.

    Raises:
        UnsupportedNetworkError: neurons leak, or are reset to another value than 0.
        OptionError: dt is not positive, or the graph needs one.
    """
    if dt is not None and not (0 < dt < np.inf):
        raise OptionError(f"dt must be a positive number of seconds, not {dt:g}; leave it out")
    for name, neurons in network.neurons.items():
        _require_no_leak(network.label, name, neurons)
        _require_reset_to_zero(network.label, name, neurons)
    kinds = {neurons.kind for neurons in network.neurons.values()}
    resistances = {
        float(r) for n in network.neurons.values() if n.kind == "IF" for r in np.unique(n.r)
    }
    if kinds <= {"LIF", "CubaLIF"}:
        writer, step, at_equality = "snnTorch", dt or USUAL_DT, False
        note = (
            "written as snnTorch writes beta = 1 (tau and r infinite): each step adds the current itself, "
            "and a neuron fires at v > v_threshold"
        )
    elif resistances == {1.0} and dt in (None, 1.0):
        writer, step, at_equality = "sinabs, Norse or others with r = 1", 1.0, False
        note = (
            "every r is 1, as sinabs and Norse write it: each step adds the current itself (dt = 1), and a "
            "neuron fires once in a step in which v > v_threshold; sinabs does so with "
            "spike_fn=SingleSpike and without min_v_mem, which the file does not hold"
        )
    elif len(resistances) == 1 and dt is None:
        (r,) = resistances
        writer, step, at_equality = "SpikingJelly", 1 / r, True
        note = (
            f"every r is {r:g}, taken as 1 / dt, as SpikingJelly writes it: each step adds the current "
            f"itself (dt = {step:g}), and a neuron fires at v >= v_threshold"
        )
    elif dt is None:
        raise OptionError(
            f"{network.label}: r differs between neurons ({min(resistances):g} to {max(resistances):g}), and "
            f"the format has no time step; pass the one that it was written with, such as dt={USUAL_DT:g}"
        )
    else:
        writer, step, at_equality = "a writer that is not known", dt, False
        note = (
            f"dt = {dt:g}, as given: each step adds r * dt times the current, and a neuron fires at "
            f"v > v_threshold"
        )
    gains = {
        name: _gain(network.label, name, neurons, step) for name, neurons in network.neurons.items()
    }
    return Convention(writer=writer, gains=gains, fires_at_equality=at_equality, notes=(note,))


def _require_no_leak(label: str, name: str, neurons: Neurons) -> None:
    if neurons.tau_mem is not None and not np.isinf(neurons.tau_mem).all():
        tau = float(neurons.tau_mem.min())
        raise UnsupportedNetworkError(
            f"{label}: node '{name}' leaks (tau = {tau:g}), and a population here keeps its potential; train "
            f"without leak: beta = 1 in snnTorch, IFNode in SpikingJelly, IAF in sinabs"
        )


def _require_reset_to_zero(label: str, name: str, neurons: Neurons) -> None:
    if np.any(neurons.v_reset):
        value = float(neurons.v_reset.reshape(-1)[np.argmax(neurons.v_reset != 0)])
        raise UnsupportedNetworkError(
            f"{label}: node '{name}' is reset to v_reset = {value:g}, which has no form as a reset by "
            f"subtraction; train with a reset by subtraction, whose v_reset is written as 0"
        )


def _gain(label: str, name: str, neurons: Neurons, dt: float) -> np.ndarray:
    """What one step adds to the potential per unit of current, shape of the parameters."""
    match neurons.kind:
        case "IF":
            gain = neurons.r * dt
        case "LIF":
            gain = _infinite_ratio(label, name, neurons)
        case "CubaLIF":
            assert neurons.tau_syn is not None
            assert neurons.w_in is not None
            if not np.allclose(neurons.tau_syn, dt, rtol=_ROUNDING, atol=0):
                raise UnsupportedNetworkError(
                    f"{label}: node '{name}' filters its input (tau_syn = {neurons.tau_syn.max():g}, with "
                    f"steps of {dt:g}), and a synapse here has no memory; train with alpha = 0, or with "
                    f"Leaky in place of Synaptic"
                )
            gain = _infinite_ratio(label, name, neurons) * neurons.w_in
        case _:
            assert_never(neurons.kind)
    gain = np.where(np.abs(gain - 1) <= _ROUNDING, 1.0, gain)
    if not ((gain > 0) & np.isfinite(gain)).all():
        raise UnsupportedNetworkError(
            f"{label}: node '{name}' must add its current with a positive finite factor, not "
            f"{float(gain.min()):g}; export it again"
        )
    return gain


def _infinite_ratio(label: str, name: str, neurons: Neurons) -> np.ndarray:
    """``r * dt / tau`` of neurons without leak: 1 where r is infinite as well, as snnTorch writes it."""
    if not np.isinf(neurons.r).all():
        raise UnsupportedNetworkError(
            f"{label}: node '{name}' has an infinite tau and r = {float(neurons.r.min()):g}, so that its "
            f"input has no effect; write it as IF, or as snnTorch does, with r = tau / dt"
        )
    return np.ones(neurons.r.shape)
