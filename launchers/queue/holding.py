"""What a shared batch holds in a queue of ours: taken for its largest task at once, kept until its last task is over.

So no other study comes in between two tasks, and every task runs on the first of the same cores, GPUs or hosts.
"""

from collections.abc import Callable, Sequence

from launchers.queue.task import Cell

Take = Callable[[], list[str] | None]
GiveBack = Callable[[list[str]], None]


class Holdings:
    """Names of cores, GPUs or hosts, by batch."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        """Look after the shared batches among those of `cells`."""
        self._cells = cells
        self._held: dict[str, tuple[list[str], GiveBack]] = {}

    def of(self, cell: Cell, take: Take, give_back: GiveBack) -> list[str] | None:
        """What the batch of `cell` holds, taken now if it holds nothing yet; None if it cannot be had now."""
        key = str(cell.folder)
        if key not in self._held:
            taken = take()
            if taken is None:
                return None
            self._held[key] = (taken, give_back)
        return self._held[key][0]

    def tidy(self) -> None:
        """Give back what batches held whose tasks are all over."""
        for key in [k for k in self._held if all(c.ended is not None for c in self._cells if str(c.folder) == k)]:
            taken, give_back = self._held.pop(key)
            give_back(taken)
