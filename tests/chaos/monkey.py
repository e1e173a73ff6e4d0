"""A seeded monkey: it disturbs a study of trivial cells in every way that its world has, and watches its records.

The seed fixes what it does, to which of those that are there, and how long it waits in between; who is there when it
does so is the machine's own affair.
"""

import json
import random
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
    """One study and its tormentor; `tests/chaos/local.py` and `slurm.py` say in which world."""

    words: tuple[str, ...] = ()
    """Of the sweep: where it runs."""
    axis = f"seed=range({CELLS})"
    """What its cells differ in."""

    def __init__(self, seed, folder, beside, *, small_disk):
        """Torment a study in `folder`; what no full disk may lose lies in `beside`."""
        self.seed, self.random = seed, random.Random(seed)
        self.folder, self.study, self.small_disk = folder, folder / "outputs" / "s", small_disk
        self.locks, self.log = beside / "locks", beside / "clients.log"
        self.locks.mkdir()
        self.acts, self.seen = [], {}

    def environment(self):
        """Variables of the clients, beside `TRIVIAL_LOCKS`."""
        return {}

    def kinds(self):
        """The acts to choose from."""
        return [self.kill_client, *([self.fill_disk] if self.small_disk else [])]

    def torment(self):
        """Do all acts, each after a while, with a client to look on whenever one was killed or has ended."""
        client = self.sweep()
        for act in self.random.choices(self.kinds(), k=ACTS):
            self.wait(self.random.uniform(0.1, 2.5))
            self.acts.append(act.__name__)
            act(client)
            if client.poll() is not None:
                client = self.sweep()
        return client

    def settle(self, client):
        """Let the client end and give commands, as a person would, until all is done; the codes of all of them."""
        codes = [self.end_of(client)]
        while codes[-1] != 0 and len(codes) < _TRIES:
            codes.append(self.end_of(self.command("resume", str(self.study), "--retry", "failed")))
        # The last client may itself have been at the end of a study that others left things in.
        return [*codes, self.end_of(self.sweep())]

    def end_of(self, client):
        """Wait for a client, while somebody tends its world; returns its code."""
        end = time.monotonic() + _END_S
        while client.poll() is None:
            assert time.monotonic() < end, f"{self.story()}: a client never ends; left: {self.left()}\n{self.tail()}"
            self.wait(1)
            self.tend()
        self.look()
        return client.returncode

    def tend(self):
        """Mend what only an administrator would."""

    def story(self):
        """What was done, and how to do it again."""
        return f"VIT_SWEEP_CHAOS_SEED={self.seed}: {' '.join(self.acts)}{'' if self.small_disk else ' (no small disk)'}"

    def tail(self):
        """What the clients printed last."""
        return self.log.read_text()[-6000:]

    def sweep(self):
        """The study's command."""
        workload = ["model=vit_test", "data=quick", "epochs=2", "batch=8", self.axis, "study=s"]
        return self.command("-m", f"--config-dir={TEST_CONF}", *self.words, *workload)

    def command(self, *words):
        """A client that runs beside the monkey."""
        environment = clean_environment() | {"PYTHONPATH": str(ROOT), "TRIVIAL_LOCKS": str(self.locks)}
        environment |= self.environment()
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "vit_sweep", *words]
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait(self, seconds):
        """Look at the records meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.05)

    def look(self):
        """Hold every record against what it was when it was first seen."""
        for path in self.study.glob("cells/*/record.json"):
            text = path.read_text()
            first = self.seen.setdefault(path.parent.name, text)
            if text != first:
                attempts = " to ".join(f"attempt {json.loads(it)['attempt']}" for it in (first, text))
                raise AssertionError(
                    f"{path} has changed from {attempts} after {self.story()}\n{self.trace(path.parent)}"
                )

    def trace(self, cell):
        """When the files of a cell's attempts were written last, to the second, and what the last ones say."""
        files = sorted(cell.glob("attempts/*/*.json"), key=lambda path: path.stat().st_mtime)
        lines = (f"{path.stat().st_mtime:.1f} {path.relative_to(cell)}: {path.read_text()[:400]}" for path in files)
        return "\n".join(lines)

    def left(self):
        """What is still at work or waits, as words; empty when all is over."""
        return [f"process {process.pid}" for process in self.processes("")]

    # -- acts of every world ---------------------------------------------------------------------

    def kill_client(self, client):
        """As a lost connection or the kernel would."""
        client.kill()
        client.wait()

    def fill_disk(self, _client):
        """Leave no room for another byte, for a while."""
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        self.wait(self.random.uniform(0.1, 2.0))
        filler.unlink()

    # -- choosing --------------------------------------------------------------------------------

    def one_of(self, items):
        """One of them, or None; a number is drawn also where there is none, so that later draws stay the same."""
        place = self.random.random()
        return items[int(place * len(items))] if items else None

    def signal(self, processes, number):
        """Send it to one of them; returns that one."""
        chosen = self.one_of(processes)
        if chosen is not None:
            with suppress(psutil.Error):
                chosen.send_signal(number)
        return chosen

    def processes(self, words):
        """The study's processes whose command has these words, oldest first."""
        ours = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if words in line and f"{self.study}/.code/" in process.environ().get("PYTHONPATH", ""):
                    ours.append((process.create_time(), process.pid, process))
        return [process for *_, process in sorted(ours, key=lambda item: item[:2])]
