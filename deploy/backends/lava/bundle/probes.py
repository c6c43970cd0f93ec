"""Populations that also record some of their neurons in every step, for `run.py --probe`.

They compute what the others compute; a run without a probe does not have them.
"""

import lava_dataclasses  # noqa: F401  before Lava
import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from processes import (
    ReadoutPopulation,
    ReadoutPopulationModel,
    SpikingPopulation,
    SpikingPopulationModel,
)


class Probe:
    """A population that records.

    Vars:
        probed_currents: input of each step, bias included, shape (samples, T, neurons recorded).
        probed_potentials: potential after each step, or the logits so far; same shape.
    """

    def __init__(self, *, probed, num_samples, timesteps, **params):
        super().__init__(num_samples=num_samples, timesteps=timesteps, probed=probed, **params)
        shape = (num_samples, timesteps, len(probed))
        self.probed_currents = Var(shape=shape, init=0)
        self.probed_potentials = Var(shape=shape, init=0)


class ProbeModel:
    """Records after each step what `potential` returns."""

    probed_currents: np.ndarray = LavaPyType(np.ndarray, np.int64)
    probed_potentials: np.ndarray = LavaPyType(np.ndarray, np.int64)
    implements_process = None  # that of its base is set again below

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.probed = list(proc_params["probed"])

    def fire(self, replica, current):
        sent = super().fire(replica, current)
        at = self.sample[replica], self.step[replica]
        self.probed_currents[at] = (current + self.bias)[self.probed]
        self.probed_potentials[at] = self.potential(replica)[self.probed]
        return sent

    def potential(self, replica):
        """Potential of all neurons after the step that was just computed."""
        raise NotImplementedError


class ProbedSpikingPopulation(Probe, SpikingPopulation):
    """Integrate-and-fire neurons, some of them recorded."""


class ProbedReadoutPopulation(Probe, ReadoutPopulation):
    """A readout, some of its accumulators recorded."""


@implements(proc=ProbedSpikingPopulation, protocol=LoihiProtocol)
@requires(CPU)
class ProbedSpikingPopulationModel(ProbeModel, SpikingPopulationModel):
    def potential(self, replica):
        return self.membrane_potential[replica]


@implements(proc=ProbedReadoutPopulation, protocol=LoihiProtocol)
@requires(CPU)
class ProbedReadoutPopulationModel(ProbeModel, ReadoutPopulationModel):
    def potential(self, replica):
        return self.logits[self.sample[replica]]
