"""Progress of every Lava process, in memory that all of them share, to show where a run hangs."""

import multiprocessing
import threading


class Progress:
    """Ticks done by each process, and one number of its state.

    Args:
        names: texts for the processes in the order of their rows, with ``{}`` in place of the state.
    """

    def __init__(self, names):
        self.names = names
        self.ticks = multiprocessing.RawArray("q", len(names))
        self.states = multiprocessing.RawArray("q", len(names))

    def record(self, row, state):
        """Called by a process after each of its ticks."""
        self.states[row] = state
        self.ticks[row] += 1

    def watch(self, patience_s, is_stopped, on_hang):
        """Call ``on_hang`` with a description when no process finishes a tick within the given time."""

        def keep_watch():
            before = None
            while not is_stopped.wait(patience_s):
                now = list(self.ticks)
                if now == before:
                    on_hang(self.describe())
                before = now

        threading.Thread(target=keep_watch, daemon=True).start()

    def describe(self):
        """Every process with its number of ticks and its state, the slowest first."""
        order = sorted(range(len(self.names)), key=lambda row: self.ticks[row])
        return "; ".join(
            f"{self.names[row].format(self.states[row])} after {self.ticks[row]} ticks"
            for row in order
        )
