"""Temporal alignment of one edge: which source frame feeds which target step (Eq. 11-13).

``average`` is not a selection: the target sees the mean of all frames in every step. The other two
methods select one frame per step, so they are a list with one entry per target step.
"""

from __future__ import annotations

from typing_extensions import assert_never

from toolchain.networks.layer_graph.populations import AlignmentMethod


def selected_frames(
    method: AlignmentMethod, source_timesteps: int, target_timesteps: int
) -> tuple[int | None, ...]:
    """Index of the source frame that each target step reads; None for a step without input.

    ``replicate`` takes the frame at the same relative position, by integer indexing. ``truncate``
    takes the first T_dst frames; if the source has fewer, later steps get no input. The input
    population shows its one frame in every step: use ``replicate`` for it.

    Args:
        source_timesteps: T_src.
        target_timesteps: T_dst.
    """
    match method:
        case "average":
            raise AssertionError("averaging reads all frames in every step")
        case "replicate":
            return tuple(t * source_timesteps // target_timesteps for t in range(target_timesteps))
        case "truncate":
            return tuple(t if t < source_timesteps else None for t in range(target_timesteps))
        case _:
            assert_never(method)
