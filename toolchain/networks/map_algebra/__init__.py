"""Chains of linear maps as one map with a weight, and sums of chains, by exact algebra.

A spiking population reads each of its sources through one synapse with one weight. Networks are freer: a
1x1 convolution follows another, a slice is scaled and shuffled, a branch is added to its own input. All of
that is linear, so it is one map again. Two facts carry most of the work: selecting and mixing channels
commutes with maps on rows and columns, and a window of windows is a window.
"""

from toolchain.networks.map_algebra.parallel import merged_in_parallel
from toolchain.networks.map_algebra.series import merged_in_series

__all__ = ["merged_in_parallel", "merged_in_series"]
