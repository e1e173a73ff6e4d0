"""The monkey on the local queue: it kills queues and ranks, and suspends them."""

import signal

from tests.chaos.monkey import Monkey
from tests.conftest import ROOT


class LocalMonkey(Monkey):
    """Its world is this machine's local queue."""

    words = (
        "partition=local",
        "partition.exclusive=false",
        f"++partition.environment.PYTHONPATH={ROOT}/tests/chaos/site",
    )

    def __init__(self, seed, folder, beside, *, small_disk):
        super().__init__(seed, folder, beside, small_disk=small_disk)
        self.runtime = beside / "runtime"
        self.runtime.mkdir(mode=0o700)

    def environment(self):
        """Every rank gets the trivial trainer, and slots of its own: nothing else here is waited for or held up."""
        return {
            "PYTHONPATH": str(ROOT),
            "CHAOS_CELL_S": "0.3",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.runtime),
        }

    def kinds(self):
        return [*super().kinds(), self.kill_queue, self.kill_rank, self.pause_rank]

    def kill_queue(self, _client):
        """One of the study's queues."""
        self.signal(self.processes("-m launchers.local.queue"), signal.SIGKILL)

    def kill_rank(self, _client):
        """A rank, or the server that forks them."""
        self.signal(self.processes("forkserver"), signal.SIGKILL)

    def pause_rank(self, _client):
        """Suspend for a while what another act may kill."""
        paused = self.signal(self.processes("forkserver"), signal.SIGSTOP)
        self.wait(self.random.uniform(0.1, 1.0))
        self.signal([paused] if paused else [], signal.SIGCONT)
