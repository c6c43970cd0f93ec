"""Several Lava processes in one process of the operating system.

Lava starts an operating-system process for each of its own, about forty for a ResNet-20. Here a few
processes run them, each Lava process in a thread; ports, channels and models are unchanged. All of them end
with the main process, however it ends.

This uses internals of lava-nc 0.10.0, the last release: it calls `build_actor` once for each Lava process,
then once for the runtime service.
"""

import ctypes
import os
import secrets
import signal
import sys
import threading
import traceback
from multiprocessing import managers, shared_memory

import lava_dataclasses  # noqa: F401  before Lava
from lava.magma.compiler.builders.runtimeservice_builder import RuntimeServiceBuilder
from lava.magma.runtime.message_infrastructure.factory import MessageInfrastructureFactory
from lava.magma.runtime.message_infrastructure.multiprocessing import MultiProcessing
from lava.magma.runtime.message_infrastructure.shared_memory_manager import SharedMemoryManager

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


def share_processes(num_processes, memory_name=None):
    """Let Lava's processes share a number of operating-system processes from now on.

    Args:
        memory_name: start of the names of shared memory; Python's own by default.
    """
    if memory_name is not None:
        shared_memory._make_filename = lambda: f"/{memory_name}-{secrets.token_hex(4)}"
    MessageInfrastructureFactory.create = staticmethod(lambda _: SharedProcesses(num_processes))


class SharedProcesses(MultiProcessing):
    """Lava's message passing, with the Lava processes assigned to groups in turn."""

    def __init__(self, num_processes):
        super().__init__()
        self.groups = [[] for _ in range(num_processes)]
        self.num_dealt = 0

    def start(self):
        self._smm = SharedMemoryManager()
        if sys.platform == "linux":  # a socket without a file, which a killed run would leave
            address = f"\0lava-{secrets.token_hex(8)}"
            self._smm._manager = managers.SharedMemoryManager(address)
        self._smm._manager.start(initializer=end_with_parent)

    def build_actor(self, target_fn, builder, exception_q=None):
        if not isinstance(builder, RuntimeServiceBuilder):
            group = self.groups[self.num_dealt % len(self.groups)]
            group.append((target_fn, builder, exception_q))
            self.num_dealt += 1
            return None
        for group in filter(None, self.groups):
            super().build_actor(run_in_threads, group)
        return super().build_actor(run_in_threads, [(target_fn, builder, exception_q)])


def run_in_threads(builder, exception_q):
    """Run every member of a group to its end; an error in one ends them all."""
    end_with_parent()
    threads = [threading.Thread(target=run_or_exit, args=member) for member in builder]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_or_exit(target_fn, builder, exception_q):
    try:
        target_fn(builder=builder, exception_q=exception_q)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def end_with_parent():
    """Let the kernel end this process when its parent ends, even if the parent is killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
