"""The Lava processes of a spiking network with mixed timesteps, and their models on the CPU.

Two kinds of process alternate: a `Population` of neurons and the `Synapse` between two populations.
A population works on one sample at a time; its firing window lasts T Lava timesteps (ticks), and
every population has its own T. A synapse holds the weights and an alignment buffer of D slots, each of
which integrates the frames of one sample until the target population has used them.

Nothing is scheduled centrally. In each tick a population sends what it did in the tick before, then
receives; a synapse receives, then sends. No process waits in a circle, and a frame fired in tick i is
integrated and usable in tick i + 1 + link_ticks. A freed slot takes as long to reach the source.
"""

import traceback
from collections import deque
from math import prod

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from linear_maps import apply_maps

ACTIVITIES = ("busy", "starved", "blocked", "drained")
BUSY, STARVED, BLOCKED, DRAINED = range(4)
BITS_PER_WORD = 32


class Population(AbstractProcess):
    """Neurons that share a firing window.

    Ports:
        frame_out: [1, values of all neurons] when a step fired in the tick before, else zeros.
        step_out: [1] when a step fired in the tick before, else [0]; to the incoming synapses.
        current_in: [ready, seen, currents of all neurons], added up over the incoming synapses.
        credit_in: [1 where a slot is free for the next sample], added up over the outgoing synapses.

    Vars:
        step_ticks: tick of each step, shape (samples, T), -1 before it fires.
        activity_ticks: ticks spent busy, starved, blocked and drained.
    """

    def __init__(self, *, shape, timesteps, num_samples, num_incoming, num_outgoing, **params):
        super().__init__(
            shape=shape,
            timesteps=timesteps,
            num_samples=num_samples,
            num_incoming=num_incoming,
            num_outgoing=num_outgoing,
            **params,
        )
        self.num_neurons = prod(shape)
        self.frame_out = OutPort(shape=(1 + self.num_neurons,))
        self.step_out = OutPort(shape=(1,))
        self.current_in = InPort(shape=(2 + self.num_neurons,))
        self.credit_in = InPort(shape=(1,))
        self.step_ticks = Var(shape=(num_samples, timesteps), init=-1)
        self.activity_ticks = Var(shape=(len(ACTIVITIES),), init=0)

    def per_neuron(self, values):
        """A Var with one integer a neuron, from an array broadcastable to the feature map."""
        values = np.broadcast_to(values, self.proc_params["shape"]).reshape(-1)
        return Var(shape=(self.num_neurons,), init=values.astype(np.int64))


class InputPopulation(Population):
    """Sends one frame of pixel integers a sample."""

    def __init__(self, *, pixels, **params):
        super().__init__(timesteps=1, num_samples=len(pixels), **params)
        self.pixels = Var(shape=(len(pixels), self.num_neurons), init=pixels)


class SpikingPopulation(Population):
    """Integrate-and-fire neurons with soft reset that fire at equality with the threshold.

    Vars:
        spike_words: all spike trains, 32 neurons a word, lowest bit first, shape (samples, T, words).
    """

    def __init__(self, *, threshold, initial_potential, bias, num_samples, timesteps, **params):
        super().__init__(num_samples=num_samples, timesteps=timesteps, **params)
        self.threshold = self.per_neuron(threshold)
        self.initial_potential = self.per_neuron(initial_potential)
        self.bias = self.per_neuron(bias)
        self.membrane_potential = Var(shape=(self.num_neurons,), init=0)
        num_words = -(-self.num_neurons // BITS_PER_WORD)
        self.spike_words = Var(shape=(num_samples, timesteps, num_words), init=0)


class ReadoutPopulation(Population):
    """Adds up its input current over its window: the logits. It does not spike."""

    def __init__(self, *, bias, num_samples, **params):
        super().__init__(num_samples=num_samples, **params)
        self.bias = self.per_neuron(bias)
        self.logits = Var(shape=(num_samples, self.num_neurons), init=0)


class Synapse(AbstractProcess):
    """The connection of two populations with its alignment buffer.

    Args:
        maps: linear maps in order, exactly one of which carries ``weight``.
        exponent: the currents are multiplied by 2^exponent.
        frames: the source frame that each target step reads (None: no input in that step), or None
            to add up all frames of the source's window and present the sum in every step.
        slots: samples the buffer holds, D.
        link_ticks: delay of a frame forward and of a credit backward.

    Ports:
        frame_in, credit_out: from and to the source population; see `Population`.
        step_in, current_out: from and to the target population.

    Vars:
        accumulators: integrated currents, shape (slots, frames kept, target neurons).
        slots_taken: slots between the source's first step and the target's last.
    """

    def __init__(self, *, weight, source, target, frames, slots, **params):
        super().__init__(source=source, target=target, frames=frames, slots=slots, **params)
        num_kept = 1 if frames is None else source["timesteps"]
        num_targets = prod(target["shape"])
        self.frame_in = InPort(shape=(1 + prod(source["shape"]),))
        self.step_in = InPort(shape=(1,))
        self.current_out = OutPort(shape=(2 + num_targets,))
        self.credit_out = OutPort(shape=(1,))
        self.weight = Var(shape=weight.shape, init=weight)
        self.accumulators = Var(shape=(slots, num_kept, num_targets), init=0)
        self.slots_taken = Var(shape=(1,), init=0)


class TickModel(PyLoihiProcessModel):
    """Runs `tick` in each Lava timestep, and says what went wrong: Lava itself keeps silent."""

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.progress, self.row = proc_params["progress"], proc_params["row"]

    def run_spk(self):
        try:
            self.progress.record(self.row, self.tick())
        except Exception:
            traceback.print_exc()
            raise

    def tick(self):
        """One tick; returns the number that describes its state in `Progress`."""
        raise NotImplementedError


class PopulationModel(TickModel):
    """What all populations do in a tick; `fire` computes one step of a firing window."""

    frame_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    step_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    current_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    credit_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    step_ticks: np.ndarray = LavaPyType(np.ndarray, np.int64)
    activity_ticks: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.timesteps = proc_params["timesteps"]
        self.num_samples = proc_params["num_samples"]
        self.num_incoming = proc_params["num_incoming"]
        self.num_outgoing = proc_params["num_outgoing"]
        self.sample = self.step = 0  # the next step to fire
        self.message = np.zeros(1 + prod(proc_params["shape"]), np.int32)

    def tick(self):
        self.frame_out.send(self.message)
        self.step_out.send(self.message[:1])
        received = self.current_in.recv()
        ready, seen = received[:2]
        credits = self.credit_in.recv()[0]
        self.message = np.zeros_like(self.message)
        activity = self.next_activity(ready == self.num_incoming, seen, credits)
        self.activity_ticks[activity] += 1
        if activity == BUSY:
            self.message[0] = 1
            self.message[1:] = self.fire(received[2:])
            self.step_ticks[self.sample, self.step] = self.time_step - 1  # Lava counts from 1
            self.step += 1
            if self.step == self.timesteps:
                self.sample, self.step = self.sample + 1, 0
        return self.sample

    def next_activity(self, is_complete, seen, credits):
        if self.sample == self.num_samples:
            return DRAINED
        if not is_complete:
            return STARVED if seen else DRAINED
        needs_slots = self.step == 0  # a window that has begun owns its slots
        return BLOCKED if needs_slots and credits < self.num_outgoing else BUSY

    def fire(self, current):
        """Compute step ``self.step`` of sample ``self.sample``; returns what the neurons send."""
        raise NotImplementedError


@implements(proc=InputPopulation, protocol=LoihiProtocol)
@requires(CPU)
class InputPopulationModel(PopulationModel):
    pixels: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def fire(self, current):
        return self.pixels[self.sample]


@implements(proc=SpikingPopulation, protocol=LoihiProtocol)
@requires(CPU)
class SpikingPopulationModel(PopulationModel):
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int64)
    initial_potential: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)
    membrane_potential: np.ndarray = LavaPyType(np.ndarray, np.int64)
    spike_words: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def fire(self, current):
        if self.step == 0:
            self.membrane_potential[:] = self.initial_potential
        self.membrane_potential += current + self.bias
        spikes = self.membrane_potential >= self.threshold
        self.membrane_potential -= self.threshold * spikes
        self.spike_words[self.sample, self.step] = pack_spikes(spikes)
        return spikes


@implements(proc=ReadoutPopulation, protocol=LoihiProtocol)
@requires(CPU)
class ReadoutPopulationModel(PopulationModel):
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)
    logits: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def fire(self, current):
        self.logits[self.sample] += current + self.bias
        return 0


@implements(proc=Synapse, protocol=LoihiProtocol)
@requires(CPU)
class SynapseModel(TickModel):
    frame_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    step_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    current_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)
    credit_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    weight: np.ndarray = LavaPyType(np.ndarray, np.int8)
    accumulators: np.ndarray = LavaPyType(np.ndarray, np.int64)
    slots_taken: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.maps, self.exponent = proc_params["maps"], proc_params["exponent"]
        self.frames, self.slots = proc_params["frames"], proc_params["slots"]
        self.source_shape = proc_params["source"]["shape"]
        self.source_timesteps = proc_params["source"]["timesteps"]
        self.target_timesteps = proc_params["target"]["timesteps"]
        self.frames_sent = self.frames_arrived = self.target_steps = 0
        link_ticks = proc_params["link_ticks"]
        self.frame_link = deque([np.zeros(1 + prod(self.source_shape), np.int32)] * link_ticks)
        self.credit_link = deque([0] * link_ticks)

    def tick(self):
        self.frame_link.append(self.frame_in.recv())
        self.frames_sent += self.frame_link[-1][0]
        frame = self.frame_link.popleft()
        if frame[0]:
            self.integrate(frame[1:].reshape(self.source_shape))
        self.target_steps += self.step_in.recv()[0]
        self.credit_link.append(self.target_steps // self.target_timesteps)
        self.send_credit(num_released=self.credit_link.popleft())
        self.send_current()
        return self.slots_taken[0]

    def integrate(self, frame):
        """Add the currents of an arriving frame to its sample's slot."""
        sample, step = divmod(self.frames_arrived, self.source_timesteps)
        slot = self.accumulators[sample % self.slots]
        if step == 0:
            slot[:] = 0
        if frame.any():
            currents = apply_maps(self.maps, self.weight, frame) << self.exponent
            slot[0 if self.frames is None else step] += currents.reshape(-1)
        self.frames_arrived += 1

    def send_credit(self, num_released):
        """Tell the source whether there is a slot for the next sample it will start."""
        num_started = -(-self.frames_sent // self.source_timesteps)
        self.slots_taken[0] = num_started - self.target_steps // self.target_timesteps
        self.credit_out.send(np.array([num_started < num_released + self.slots], np.int32))

    def send_current(self):
        """Offer the target the current of its next step, if its frame has arrived."""
        sample, step = divmod(self.target_steps, self.target_timesteps)
        frame = self.source_timesteps - 1 if self.frames is None else self.frames[step]
        message = np.zeros(2 + self.accumulators.shape[2], np.int64)
        message[1] = self.frames_arrived > 0
        if frame is None:
            message[0] = 1
        elif self.frames_arrived > sample * self.source_timesteps + frame:
            message[0] = 1
            message[2:] = self.accumulators[
                sample % self.slots, 0 if self.frames is None else frame
            ]
        self.current_out.send(message)


def pack_spikes(spikes):
    """Spikes of all neurons as 32-bit words, lowest bit first."""
    bits = np.zeros(-(-len(spikes) // BITS_PER_WORD) * BITS_PER_WORD, bool)
    bits[: len(spikes)] = spikes
    return np.packbits(bits, bitorder="little").view("<u4")


def unpack_spikes(words, num_neurons):
    """The inverse of `pack_spikes` along the last axis: bool, (..., num_neurons)."""
    octets = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=num_neurons, bitorder="little").astype(bool)
