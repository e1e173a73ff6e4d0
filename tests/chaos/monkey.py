"""A seeded monkey: it kills clients, queues and ranks of a study and fills its disk, and watches its records.

The seed fixes what it does and how long it waits in between; what a kill meets is the machine's own affair.
"""

import hashlib
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from tests.conftest import ROOT, TEST_CONF
from tests.warm import clean_environment

CELLS = 20
ACTS = 8
_TRIES = 10
"""Commands after the monkey's last act: each cell may have died of something that is tried again when asked only."""
_END_S = 300
"""For what never comes, as all limits of these tests."""


class Monkey:
    """One study and its tormentor."""

    def __init__(self, seed, folder, *, small_disk):
        self.random = random.Random(seed)
        self.folder, self.study, self.small_disk = folder, folder / "outputs" / "s", small_disk
        self.runtime = folder.parent / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.acts, self.seen = [], {}
        self.log = folder.parent / "clients.log"

    def torment(self):
        """Do all acts, each after a while, with a client to look on whenever one was killed or has ended."""
        kinds = [self.kill_client, self.kill_queue, self.kill_rank, self.pause_rank]
        kinds += [self.fill_disk] if self.small_disk else []
        client = self.sweep()
        for act in self.random.choices(kinds, k=ACTS):
            self.wait(self.random.uniform(0.1, 2.5))
            self.acts.append(act.__name__)
            act(client)
            if client.poll() is not None:
                client = self.sweep()
        return client

    def settle(self, client):
        """Let the client end and give commands, as a person would, until all is done; the codes of all of them."""
        codes = [client.wait(timeout=_END_S)]
        while codes[-1] != 0 and len(codes) < _TRIES:
            codes.append(self.command("resume", str(self.study), "--retry", "failed").wait(timeout=_END_S))
            self.look()
        # The last client may itself have been at the end of a study that others left things in.
        codes.append(self.sweep().wait(timeout=_END_S))
        self.look()
        return codes

    def sweep(self):
        """The study's command."""
        words = ["partition=local", "partition.exclusive=false", "model=vit_test", "data=quick", "epochs=2", "batch=8"]
        return self.command("-m", f"--config-dir={TEST_CONF}", *words, f"seed=range({CELLS})", "study=s")

    def command(self, *words):
        """A client that runs beside the monkey."""
        own = {
            "PYTHONPATH": f"{ROOT}:{ROOT}/tests/chaos/site",
            "CHAOS_CELL_S": "0.3",
            # Slots of its own: nothing else on this machine is waited for or held up.
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.runtime),
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "vit_sweep", *words]
            return subprocess.Popen(
                command, cwd=self.folder, env=clean_environment() | own, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self, seconds):
        """Look at the records meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.05)

    def look(self):
        """Hold every record against what it was when it was first seen."""
        for path in self.study.glob("cells/*/record.json"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            first = self.seen.setdefault(path.parent.name, digest)
            assert digest == first, f"{path} has changed after {self.acts}"

    # -- acts ------------------------------------------------------------------------------------

    def kill_client(self, client):
        """As a lost connection or the kernel would."""
        client.kill()
        client.wait()

    def kill_queue(self, _client):
        """One of the study's queues."""
        self._signal(self.processes("-m launchers.local.queue"), signal.SIGKILL)

    def kill_rank(self, _client):
        """A rank, or the server that forks them."""
        self._signal(self.processes("forkserver"), signal.SIGKILL)

    def pause_rank(self, _client):
        """Suspend for a while what another act may kill."""
        paused = self._signal(self.processes("forkserver"), signal.SIGSTOP)
        self.wait(self.random.uniform(0.1, 1.0))
        self._signal([paused] if paused else [], signal.SIGCONT)

    def fill_disk(self, _client):
        """Leave no room for another byte, for a while."""
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        self.wait(self.random.uniform(0.1, 2.0))
        filler.unlink()

    def processes(self, words):
        """The study's processes whose command has these words, oldest first."""
        ours = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if words in line and f"{self.study}/.code/" in process.environ().get("PYTHONPATH", ""):
                    ours.append((process.create_time(), process.pid, process))
        return [process for *_, process in sorted(ours, key=lambda item: item[:2])]

    def _signal(self, processes, number):
        """Send it to one of them; which one is drawn also where there is none, so that later draws stay the same."""
        place = self.random.random()
        if not processes:
            return None
        chosen = processes[int(place * len(processes))]
        with suppress(psutil.Error):
            chosen.send_signal(number)
        return chosen
