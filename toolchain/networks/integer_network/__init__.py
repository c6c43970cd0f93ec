"""The integer network that every engine computes, with the same bits."""

from toolchain.networks.integer_network.bit_planes import bit_planes, highest_exponent
from toolchain.networks.integer_network.integer_widths import IntegerWidths
from toolchain.networks.integer_network.network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.verify import verify_integer_network, verify_integer_widths

__all__ = [
    "IntegerInput",
    "IntegerNetwork",
    "IntegerPopulation",
    "IntegerReadout",
    "IntegerSpiking",
    "IntegerSynapse",
    "IntegerWidths",
    "bit_planes",
    "highest_exponent",
    "verify_integer_network",
    "verify_integer_widths",
]
