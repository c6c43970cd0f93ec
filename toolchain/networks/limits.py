"""Limits of the numbers that a network's files declare, in one place.

From these numbers arrays are made: a small file must not declare a huge one. Each limit is far above any
network in use; sizes that follow from several numbers are checked in ``layer_graph.map_sizes``.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

MAX_TIMESTEPS = 65_536  # longer than any firing window in use
MAX_PIXEL = 2**24  # float32 holds all integers up to here exactly
MAX_NEURONS = (
    2**24
)  # per population, and values of a map within a synapse: 4,096 x 4,096 of one channel
MAX_ACCUMULATIONS = 2**38  # multiply-accumulates per sample: 17 times those of VGG-16 at 224 x 224
MAX_WINDOW = 2**14  # a kernel along one axis, its stride, dilation and padding: recordings of sound
MAX_DIVISOR = MAX_WINDOW**2  # of the mean over the largest window
MAX_EXPONENT = 62  # of a power of two in 64 bits
MAX_PARTS = 100_000  # populations, synapses, maps of one synapse, outputs of the readout

PartName: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z",
        extra={"must_be": "printable characters, from 1 to 1,000 of them"},
    ),
]
"""Name of a population or of an output."""

Timesteps: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_TIMESTEPS)]
Pixel: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_PIXEL)]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_NEURONS)]
Channel: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_NEURONS)]
Window: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_WINDOW)]
Padding: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_WINDOW)]
Divisor: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_DIVISOR)]
Exponent: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_EXPONENT)]
Shape: TypeAlias = tuple[Size, Size, Size]
Windows: TypeAlias = tuple[Window, Window]
Paddings: TypeAlias = tuple[Padding, Padding]
