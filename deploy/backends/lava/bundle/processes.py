"""The Lava processes of a spiking network with mixed timesteps, and their models on the CPU.

Two kinds of process alternate: a `Population` of neurons and the `Synapse` between two populations.
A population works on one sample at a time; its firing window lasts T Lava timesteps (ticks), and
every population has its own T. A synapse holds the weights and an alignment buffer of D slots, each of
which integrates the frames of one sample until the target population has used them.

A population may have R replicas of its neurons, so that R samples are in their windows at once: replica r
works on samples r, r + R, and so on. On the chip each replica has its own cores; here it is a row of the
arrays and messages of one process. Most populations have R = 1, one row.

Nothing is scheduled centrally. In each tick a population sends the result of its previous tick, then
receives; a synapse receives, then sends. So processes never wait for each other in a circle. A frame that is
fired in tick i is integrated and usable in tick i + 1 + link_ticks, and a freed slot takes as long to reach
the source.
"""

import traceback
from collections import deque
from math import prod

import lava_dataclasses  # noqa: F401  before Lava
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
    """Neurons that share a firing window, in R replicas.

    Ports, each with one row per replica:
        frame_out: [1, values of all neurons] if a step fired in the previous tick, else zeros.
        step_out: 1 if a step fired in the previous tick, else 0; to the incoming synapses.
        current_in: [ready, seen, currents of all neurons], added up over the incoming synapses.
        credit_in: 1 if a slot is free for the next sample, added up over the outgoing synapses.

    Vars:
        step_ticks: tick of each step, shape (samples, T), -1 before it fires.
        activity_ticks: ticks that each replica spent busy, starved, blocked and drained.
    """

    def __init__(
        self, *, shape, timesteps, replicas, num_samples, num_incoming, num_outgoing, **params
    ):
        super().__init__(
            shape=shape,
            timesteps=timesteps,
            replicas=replicas,
            num_samples=num_samples,
            num_incoming=num_incoming,
            num_outgoing=num_outgoing,
            **params,
        )
        self.num_neurons = prod(shape)
        self.frame_out = OutPort(shape=(replicas, 1 + self.num_neurons))
        self.step_out = OutPort(shape=(replicas,))
        self.current_in = InPort(shape=(replicas, 2 + self.num_neurons))
        self.credit_in = InPort(shape=(replicas,))
        self.step_ticks = Var(shape=(num_samples, timesteps), init=-1)
        self.activity_ticks = Var(shape=(replicas, len(ACTIVITIES)), init=0)

    def per_neuron(self, values):
        """A Var with one integer per neuron, from an array that broadcasts to the feature map."""
        values = np.broadcast_to(values, self.proc_params["shape"]).reshape(-1)
        return Var(shape=(self.num_neurons,), init=values.astype(np.int64))


class InputPopulation(Population):
    """Sends one frame of pixel integers per sample."""

    def __init__(self, *, pixels, **params):
        super().__init__(timesteps=1, num_samples=len(pixels), **params)
        self.pixels = Var(shape=(len(pixels), self.num_neurons), init=pixels)


class SpikingPopulation(Population):
    """Integrate-and-fire neurons with soft reset that fire at equality with the threshold.

    Vars:
        spike_words: all spike trains, 32 neurons per word, lowest bit first, shape (samples, T, words).
    """

    def __init__(
        self, *, threshold, initial_potential, bias, num_samples, timesteps, replicas, **params
    ):
        super().__init__(num_samples=num_samples, timesteps=timesteps, replicas=replicas, **params)
        self.threshold = self.per_neuron(threshold)
        self.initial_potential = self.per_neuron(initial_potential)
        self.bias = self.per_neuron(bias)
        self.membrane_potential = Var(shape=(replicas, self.num_neurons), init=0)
        num_words = -(-self.num_neurons // BITS_PER_WORD)
        self.spike_words = Var(shape=(num_samples, timesteps, num_words), init=0)


class ReadoutPopulation(Population):
    """Adds up its input currents over its window, which gives the logits; it does not spike."""

    def __init__(self, *, bias, num_samples, **params):
        super().__init__(num_samples=num_samples, **params)
        self.bias = self.per_neuron(bias)
        self.logits = Var(shape=(num_samples, self.num_neurons), init=0)


class Synapse(AbstractProcess):
    """The connection of two populations with its alignment buffer.

    Args:
        maps: linear maps in order, exactly one of which carries ``weight``.
        exponent: the currents are multiplied by 2^exponent.
        frames: the source frame that each target step reads (None in a step without input); or None in
            place of the list, to add up all frames of a window and present the sum in every step.
        slots: samples the buffer holds, D; each replica of the target has D / R of them.
        link_ticks: delay of a frame forward and of a credit backward.

    Ports:
        frame_in, credit_out: from and to the source population; see `Population`.
        step_in, current_out: from and to the target population.

    Vars:
        accumulators: integrated currents, shape (slots, frames kept, target neurons); sample k is in
            slot k mod D, which belongs to its replica.
        slots_taken: slots between the source's first step and the target's last.
    """

    def __init__(self, *, weight, source, target, frames, slots, **params):
        super().__init__(source=source, target=target, frames=frames, slots=slots, **params)
        num_kept = 1 if frames is None else source["timesteps"]
        num_targets = prod(target["shape"])
        self.frame_in = InPort(shape=(source["replicas"], 1 + prod(source["shape"])))
        self.step_in = InPort(shape=(target["replicas"],))
        self.current_out = OutPort(shape=(target["replicas"], 2 + num_targets))
        self.credit_out = OutPort(shape=(source["replicas"],))
        self.weight = Var(shape=weight.shape, init=weight)
        self.accumulators = Var(shape=(slots, num_kept, num_targets), init=0)
        self.slots_taken = Var(shape=(1,), init=0)


class TickModel(PyLoihiProcessModel):
    """Runs `tick` in each Lava timestep, and prints errors, which Lava itself does not."""

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
    """A tick of any population; `fire` computes one step of a firing window.

    Each replica goes through its samples and their steps independently.
    """

    frame_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    step_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    current_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    credit_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    step_ticks: np.ndarray = LavaPyType(np.ndarray, np.int64)
    activity_ticks: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.timesteps = proc_params["timesteps"]
        self.replicas = proc_params["replicas"]
        self.num_samples = proc_params["num_samples"]
        self.num_incoming = proc_params["num_incoming"]
        self.num_outgoing = proc_params["num_outgoing"]
        self.sample = np.arange(self.replicas)  # of each replica, the next step to fire
        self.step = np.zeros(self.replicas, int)
        self.message = np.zeros((self.replicas, 1 + prod(proc_params["shape"])), np.int32)

    def tick(self):
        self.frame_out.send(self.message)
        self.step_out.send(self.message[:, 0])
        received = self.current_in.recv()
        credits = self.credit_in.recv()
        self.message = np.zeros_like(self.message)
        for replica in range(self.replicas):
            ready, seen = received[replica, :2]
            is_complete = ready == self.num_incoming
            activity = self.next_activity(replica, is_complete, seen, credits[replica])
            self.activity_ticks[replica, activity] += 1
            if activity == BUSY:
                self.message[replica, 0] = 1
                self.message[replica, 1:] = self.fire(replica, received[replica, 2:])
                self.go_on(replica)
        return self.sample.min()

    def next_activity(self, replica, is_complete, seen, credits):
        if self.sample[replica] >= self.num_samples:
            return DRAINED
        if not is_complete:
            return STARVED if seen else DRAINED
        needs_slots = self.step[replica] == 0  # a window that has begun owns its slots
        return BLOCKED if needs_slots and credits < self.num_outgoing else BUSY

    def fire(self, replica, current):
        """Compute step ``self.step[replica]`` of its sample; returns what the neurons send."""
        raise NotImplementedError

    def go_on(self, replica):
        """Record the step that was fired, and go to the next."""
        sample, step = self.sample[replica], self.step[replica]
        self.step_ticks[sample, step] = self.time_step - 1  # Lava counts from 1
        self.step[replica] += 1
        if self.step[replica] == self.timesteps:
            self.step[replica] = 0
            self.sample[replica] += self.replicas


@implements(proc=InputPopulation, protocol=LoihiProtocol)
@requires(CPU)
class InputPopulationModel(PopulationModel):
    pixels: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def fire(self, replica, current):
        return self.pixels[self.sample[replica]]


@implements(proc=SpikingPopulation, protocol=LoihiProtocol)
@requires(CPU)
class SpikingPopulationModel(PopulationModel):
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int64)
    initial_potential: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)
    membrane_potential: np.ndarray = LavaPyType(np.ndarray, np.int64)
    spike_words: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def fire(self, replica, current):
        potential = self.membrane_potential[replica]  # a view
        if self.step[replica] == 0:
            potential[:] = self.initial_potential
        potential += current + self.bias
        spikes = potential >= self.threshold
        potential -= self.threshold * spikes
        self.spike_words[self.sample[replica], self.step[replica]] = pack_spikes(spikes)
        return spikes


@implements(proc=ReadoutPopulation, protocol=LoihiProtocol)
@requires(CPU)
class ReadoutPopulationModel(PopulationModel):
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)
    logits: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def fire(self, replica, current):
        self.logits[self.sample[replica]] += current + self.bias
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
        # steps that each replica of the source and of the target has done
        self.sources, self.targets = (proc_params[end]["replicas"] for end in ("source", "target"))
        self.frames_sent = np.zeros(self.sources, int)
        self.frames_arrived = np.zeros(self.sources, int)
        self.target_steps = np.zeros(self.targets, int)
        link_ticks = proc_params["link_ticks"]
        no_frames = np.zeros((self.sources, 1 + prod(self.source_shape)), np.int32)
        self.frame_link = deque([no_frames] * link_ticks)
        self.credit_link = deque([np.zeros(self.targets, int)] * link_ticks)

    def tick(self):
        self.frame_link.append(self.frame_in.recv())
        self.frames_sent += self.frame_link[-1][:, 0]
        for replica, frame in enumerate(self.frame_link.popleft()):
            if frame[0]:
                self.integrate(replica, frame[1:].reshape(self.source_shape))
        self.target_steps += self.step_in.recv()
        self.credit_link.append(self.target_steps // self.target_timesteps)
        self.send_credits(num_released=self.credit_link.popleft())
        self.send_currents()
        return self.slots_taken[0]

    def integrate(self, replica, frame):
        """Add the currents of a frame from a replica of the source to its sample's slot."""
        nth_sample, step = divmod(self.frames_arrived[replica], self.source_timesteps)
        sample = nth_sample * self.sources + replica
        slot = self.accumulators[sample % self.slots]
        if step == 0:
            slot[:] = 0
        if frame.any():
            currents = apply_maps(self.maps, self.weight, frame) << self.exponent
            slot[0 if self.frames is None else step] += currents.reshape(-1)
        self.frames_arrived[replica] += 1

    def send_credits(self, num_released):
        """Tell each replica of the source whether a slot is free for the next sample it will start.

        Args:
            num_released: samples that each replica of the target has finished.
        """
        num_started = -(-self.frames_sent // self.source_timesteps)
        num_finished = self.target_steps // self.target_timesteps
        self.slots_taken[0] = num_started.sum() - num_finished.sum()
        next_sample = num_started * self.sources + np.arange(self.sources)
        # the previous sample in the same slot, as the n-th of its replica
        nth_sample, replica = divmod(next_sample - self.slots, self.targets)
        self.credit_out.send((num_released[replica] > nth_sample).astype(np.int32))

    def send_currents(self):
        """Offer each replica of the target the current of its next step, if its frame has arrived."""
        message = np.zeros((self.targets, 2 + self.accumulators.shape[2]), np.int64)
        for replica, steps in enumerate(self.target_steps):
            nth_sample, step = divmod(steps, self.target_timesteps)
            sample = nth_sample * self.targets + replica
            frame = self.source_timesteps - 1 if self.frames is None else self.frames[step]
            message[replica, 1] = self.has_arrived(replica, 0)  # any frame for it at all
            if frame is None:
                message[replica, 0] = 1
            elif self.has_arrived(sample, frame):
                message[replica, 0] = 1
                message[replica, 2:] = self.accumulators[
                    sample % self.slots, 0 if self.frames is None else frame
                ]
        self.current_out.send(message)

    def has_arrived(self, sample, frame):
        nth_sample, replica = divmod(sample, self.sources)
        return self.frames_arrived[replica] > nth_sample * self.source_timesteps + frame


def pack_spikes(spikes):
    """Spikes of all neurons as 32-bit words, lowest bit first."""
    bits = np.zeros(-(-len(spikes) // BITS_PER_WORD) * BITS_PER_WORD, bool)
    bits[: len(spikes)] = spikes
    return np.packbits(bits, bitorder="little").view("<u4")


def unpack_spikes(words, num_neurons):
    """The inverse of `pack_spikes` along the last axis: bool, (..., num_neurons)."""
    octets = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=num_neurons, bitorder="little").astype(bool)
