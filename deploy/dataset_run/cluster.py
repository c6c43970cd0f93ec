"""Simulate chunks of a data set on the workers of a Dask cluster, on this or other machines."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.dataset_run.simulate_dataset import ChunkResult, ChunkSimulator
from toolchain.errors import ClusterError
from toolchain.files.whole_files import scratch_folder

CONNECT_TIMEOUT_S = 10

CHUNKS_PER_WORKER = 2
"""Chunks sent to a worker at a time: it computes one while the other waits, and memory stays bounded."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A ``Spread`` over Dask workers, each of which prepares the engine once.

    Attributes:
        processes: workers to start on this machine, each on one core, without a scheduler.
        scheduler: address of a running scheduler, such as ``tcp://10.0.0.1:8786``; its workers need
            the same version of this program.
    """

    processes: int
    scheduler: str | None = None

    def __call__(
        self, simulator: ChunkSimulator, chunks: Iterator[tuple[int, np.ndarray]]
    ) -> Iterator[tuple[int, ChunkResult]]:
        """Raises:
        ClusterError: Dask is not installed, or the scheduler cannot be reached or has no worker.
        """
        with dask_client(self.processes, self.scheduler) as client:
            import distributed

            num_workers = len(client.ncores())
            (shared,) = client.scatter([simulator], broadcast=True, hash=False)
            running: dict[Any, int] = {}
            finished = distributed.as_completed(loop=client.loop)
            while True:
                while len(running) < CHUNKS_PER_WORKER * num_workers:
                    if (chunk := next(chunks, None)) is None:
                        break
                    task = client.submit(_simulate, shared, chunk[1], pure=False)
                    running[task] = chunk[0]
                    finished.add(task)
                if not running:
                    return
                task = next(finished)
                yield running.pop(task), task.result()


@contextmanager
def dask_client(processes: int, scheduler: str | None) -> Iterator[Any]:
    """A ``distributed.Client`` whose workers answer; workers on this machine end with the block.

    Args:
        processes: workers to start on this machine, each on one core, without a scheduler.
        scheduler: address of a running scheduler.

    Raises:
        ClusterError: Dask is not installed, or the scheduler cannot be reached or has no worker.
    """
    try:
        import distributed
        from distributed.deploy.spec import close_clusters
    except ImportError:
        raise ClusterError(
            "several workers need Dask: pip install 'qac-deploy[cluster]'; --workers 1 does not"
        ) from None
    # the block closes its cluster; one that an interrupt left half made ends with this process, which its
    # workers watch, while Dask would wait for it and end with a traceback
    atexit.unregister(close_clusters)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for handler in logging.getLogger("distributed").handlers:
        # also of workers that an interrupt ends while they start
        handler.setLevel(logging.CRITICAL)
    with ExitStack() as until_done:
        address: Any = scheduler
        if address is None:
            scratch = until_done.enter_context(
                scratch_folder()
            )  # cleared up also if this is killed
            address = until_done.enter_context(
                distributed.LocalCluster(
                    n_workers=processes,
                    threads_per_worker=1,
                    local_directory=str(scratch),
                    dashboard_address="127.0.0.1:0",  # any free port: None takes 8787
                    silence_logs=logging.CRITICAL,  # a failed task raises its error here
                )
            )
        try:
            client = distributed.Client(address, set_as_default=False, timeout=CONNECT_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {scheduler}: {error}; start one with "
                f"`dask scheduler`"
            ) from None
        until_done.enter_context(client)
        if not client.ncores():
            raise ClusterError(
                f"the Dask scheduler at {scheduler} has no worker; start some with "
                f"`dask worker {scheduler}`"
            )
        yield client


def _simulate(simulator: ChunkSimulator, pixels: np.ndarray) -> ChunkResult:
    return simulator(pixels)
