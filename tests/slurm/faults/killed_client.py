"""Clients that are killed at every step: `killed_client.py FOLDER STRIDE WORDS...`, a line of JSON per kill.

A step is anything that the rest of the world can see: a file renamed, linked, removed or opened for writing and a
folder made in the study, or a program started; Python's own audit events tell of each just before it happens. A program
counts twice: killed before it starts, and while it runs. For N = 1, 1 + STRIDE, ... a client of the study
FOLDER/outputs/killN kills itself at its Nth step, and then the same command is given again, until a first client ends
unharmed. Clients are forked, since importing what they need takes ten times as long as all that they do.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from vit_sweep.__main__ import main
from vit_sweep.study.code import snapshot

SNAPSHOT_STRIDE = 150
"""Only every 150th change below the code snapshot is a step: its files are all alike."""
IN_FLIGHT_S = 0.15
"""When a client is killed whose program runs; the test's sbatch takes longer while the file `slow` is there."""

_FOLDER = {"os.mkdir": 2, "os.remove": 1, "os.link": 2, "os.rename": 2}
"""Where these events say which folder a name is in."""


class Steps:
    """Counts, and kills this process at the step that was chosen."""

    def __init__(self, study, slow):
        self.study, self.slow = str(study), slow
        self.last, self.count, self.copied = 0, 0, 0

    def __call__(self, event, arguments):
        """An audit hook."""
        if self.last == 0:
            return
        if event == "subprocess.Popen":
            self.step()
            if self.count + 1 == self.last:
                self.last = 0
                self.slow.touch()
                threading.Timer(IN_FLIGHT_S, os.kill, (os.getpid(), signal.SIGKILL)).start()
            else:
                self.count += 1
        elif event in _FOLDER:
            self.changed(event, str(arguments[0]), arguments[_FOLDER[event]])
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.opened(arguments[0])

    def opened(self, path):
        """A file opened for writing: by a name alone where its folder is held open, as only the study's are."""
        aside = path.endswith(".tmp")  # the renaming of it is the step
        if not aside and (path.startswith(self.study) or "/" not in path) and self.counts(copied=copying()):
            self.step()

    def counts(self, *, copied):
        """Whether a change is a step: of the snapshot's few are."""
        self.copied += copied
        return not copied or self.copied % SNAPSHOT_STRIDE == 1

    def changed(self, event, path, folder):
        """A name that appears, changes or goes."""
        if folder != -1:
            path = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{path}"
        made_before = event == "os.mkdir" and os.path.lexists(path)
        removed_aside = event == "os.remove" and path.endswith(".tmp")
        if made_before or removed_aside or not path.startswith(self.study):
            return
        if self.counts(copied="/.code/" in path):
            self.step()

    def step(self):
        """One more."""
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def copying():
    """Whether the snapshot is being written: its files are opened by a name alone, in folders held open."""
    frame = sys._getframe().f_back
    while frame and frame.f_code.co_filename != snapshot.__file__:
        frame = frame.f_back
    return frame is not None


def client(words, folder, steps=None, last=0):
    """Fork a client; returns its exit code, negative for the signal that killed it."""
    child = os.fork()
    if child == 0:
        log = os.open(folder / "clients.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(folder)
        sys.argv = ["vit_sweep", *words]
        if steps is not None:
            steps.last = last
            sys.addaudithook(steps)
        os._exit(main())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up(folder, words):
    """Import all that clients will need, by being one: its scripts are written and not submitted."""
    stdout, log = os.dup(1), os.open(folder / "clients.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.chdir(folder)
    sys.argv = ["vit_sweep", *words]
    assert main() == 0
    sys.stdout.flush()
    os.dup2(stdout, 1)


def run(folder, stride, words):
    """Kill and repeat until nothing is left to be killed."""
    warm_up(folder, [*words, "study=warm", "dry_run=true"])
    for last in range(1, 1000, stride):
        name = f"kill{last}"
        steps = Steps(folder / "outputs" / name, folder / "slow")
        first = client([*words, f"study={name}"], folder, steps, last)
        (folder / "slow").unlink(missing_ok=True)
        second = client([*words, f"study={name}"], folder)
        print(json.dumps({"study": name, "first": first, "second": second}), flush=True)
        if first == 0:
            return


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
