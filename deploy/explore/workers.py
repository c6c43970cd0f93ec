"""Measure designs on Dask workers, on this or other machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deploy.dataset_run.cluster import dask_client
from deploy.design.compilation import CompileOptions
from deploy.explore.exploration import Spread
from deploy.explore.measure import DesignMeter, Outcome, by_network, network_key


@contextmanager
def on_workers(meter: DesignMeter, processes: int, scheduler: str | None) -> Iterator[Spread]:
    """Workers for the block; each keeps the networks that it has lowered, and gets designs of these again.

    Args:
        processes: workers to start on this machine, without a scheduler.
        scheduler: address of a running Dask scheduler.

    Raises:
        ClusterError: Dask is not installed, or the scheduler cannot be reached or has no worker.
    """
    with dask_client(processes, scheduler) as client:
        import distributed

        (shared,) = client.scatter([meter], broadcast=True, hash=False)
        homes: dict[Any, str] = {}

        def spread(designs: Sequence[CompileOptions]) -> Iterator[tuple[int, Outcome]]:
            workers = sorted(client.ncores())
            tasks = {}
            for group in by_network(designs):
                chosen = [designs[index] for index in group]
                home = homes.setdefault(network_key(chosen[0]), workers[len(homes) % len(workers)])
                where = {"workers": [home], "allow_other_workers": True} if home in workers else {}
                task = client.submit(_measure, shared, chosen, pure=False, **where)
                tasks[task] = group
            for task in distributed.as_completed(tasks, loop=client.loop):
                yield from zip(tasks[task], task.result(), strict=True)

        yield spread


def _measure(meter: DesignMeter, designs: Sequence[CompileOptions]) -> list[Outcome]:
    return list(meter.measure(designs))
