"""Random pipelines with forks, joins and replicas."""

from __future__ import annotations

from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline


def random_pipeline(rng):
    """Up to nine populations; each hears from one to three earlier ones, averaging or frame by frame.

    Half of those with sources have two or three replicas.
    """
    count = int(rng.integers(2, 10))
    windows = {f"p{i}": int(rng.integers(1, 9)) for i in range(count)}
    replicas = {f"p{i}": int(rng.choice([1, 1, 2, 3])) for i in range(1, count)}
    buffers = []
    for target in range(1, count):
        sources = rng.choice(target, size=min(target, int(rng.integers(1, 4))), replace=False)
        averages = rng.integers(2)
        for source in sorted(int(s) for s in sources):
            steps, frames = windows[f"p{target}"], windows[f"p{source}"]
            chosen = tuple(sorted(int(f) for f in rng.integers(0, frames, steps)))
            buffers.append(
                AlignmentBuffer(
                    source=f"p{source}",
                    target=f"p{target}",
                    slots=int(rng.integers(1, 5)) * replicas[f"p{target}"],
                    frames=None if averages else chosen,
                )
            )
    return Pipeline(
        windows=windows,
        buffers=tuple(buffers),
        link_ticks=int(rng.integers(0, 3)),
        replicas=replicas,
    )
