"""Temporal alignment of one edge: which source frame feeds which target step (Eq. 11-13).

``average`` is not a selection: the target sees the mean of all frames in every step. The other two
methods select, so they are a list with one entry a target step.
"""

from __future__ import annotations

from toolchain.networks.layer_graph.populations import AlignmentMethod


def selected_frames(
    method: AlignmentMethod, source_timesteps: int, target_timesteps: int
) -> tuple[int | None, ...]:
    """Index of the source frame that each target step reads, or None for a step without input.

    ``replicate`` takes the frame at the same relative position, by integer indexing. ``truncate``
    takes the first T_target frames; where the source has fewer, later steps get no input. The input
    population is direct-coded, one frame in every step: use ``replicate`` for it.

    Args:
        source_timesteps: T_src.
        target_timesteps: T_dst.
    """
    assert method != "average", "averaging reads all frames in every step"
    if method == "replicate":
        return tuple(t * source_timesteps // target_timesteps for t in range(target_timesteps))
    return tuple(t if t < source_timesteps else None for t in range(target_timesteps))
