"""The tab key in real shells: what `completion install` writes completes a line in bash, zsh and fish.

A shell runs on a terminal of its own. After the tab comes the line's end, so that the shell runs what the line has
become: its `vit_sweep` says its words, or hands over to the real one when the shell asks for completions.
"""

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import sys
import termios
import time

import pytest

from tests.conftest import why_no_real_hosts
from tests.unit.builders import planned_study, point
from tests.warm import clean_environment
from vit_sweep.__main__ import main

SHELLS = ("bash", "zsh", "fish")
PROMPT = "ready>"
LONGEST_S = 300
PROGRAM = f"""#!/bin/sh
if [ -n "${{_VIT_SWEEP_COMPLETE:-}}" ]; then
  exec {sys.executable} -c 'import sys; from vit_sweep.__main__ import main; sys.exit(main())'
fi
printf 'words:'
printf ' <%s>' "$@"
echo ' end'
"""
LINES = {
    "a verb": ("sta\t", "<status>"),
    "a study": ("status mi\t", "<status> <mine>"),
    "a key, behind which its value is typed": ("-m gp\t2", "<-m> <gpus=2>"),
    "a name of a group": ("-m partition=vector_t\t", "<-m> <partition=vector_t4v2>"),
    "the last of several values": ("-m scaling=strong,w\t", "<-m> <scaling=strong,weak>"),
}
"""What is typed behind `vit_sweep`, and the words that the shell then runs it with."""


class Shell:
    """An interactive shell, as a person has it."""

    def __init__(self, name, home, cwd):
        """Start it; its prompt is known, its window wide enough for a line."""
        environment = clean_environment() | {
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "TERM": "xterm",
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._read = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(cwd)
            os.execvpe(name, [name, "-i"], environment)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self._until(PROMPT)

    def press(self, line):
        """What the shell runs for a line in which the tab key was pressed."""
        os.write(self._terminal, f"vit_sweep {line}\n".encode())
        text = self._until(" end\r\n")
        self._until(PROMPT)
        return text.rpartition("words: ")[2]

    def _until(self, wanted):
        until = time.monotonic() + LONGEST_S
        while wanted not in self._read:
            ready = select.select([self._terminal], [], [], max(0.0, until - time.monotonic()))[0]
            assert ready, f"{wanted!r} does not come: {self._read!r}"
            self._read += os.read(self._terminal, 65536).decode(errors="replace")
        text, _, self._read = self._read.partition(wanted)
        return text

    def close(self):
        """End it."""
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path, monkeypatch):
    """One whose user has typed `vit_sweep completion install`, in a folder with a study."""
    reason = why_no_real_hosts([request.param], "a shell")
    if reason and shutil.which(request.param) is None:
        pytest.skip(reason)
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "vit_sweep").write_text(PROGRAM)
    (home / "bin" / "vit_sweep").chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    assert main(["completion", "install", request.param]) == 0
    with (home / {"bash": ".bashrc", "zsh": ".zshrc"}.get(request.param, ".config/fish/config.fish")).open("a") as file:
        prompt = f"function fish_prompt; echo -n '{PROMPT}'; end; set fish_greeting"
        file.write(f"\n{prompt if request.param == 'fish' else f'PS1={PROMPT!r}'}\n")
    planned_study(tmp_path / "work" / "outputs" / "mine", point())
    started = Shell(request.param, home, tmp_path / "work")
    yield started
    started.close()


def test_the_tab_key_completes_verbs_studies_keys_and_groups(shell):
    """One shell for all lines: its start and each completion cost as much as a command."""
    assert {what: shell.press(typed) for what, (typed, _) in LINES.items()} == {
        what: whole for what, (_, whole) in LINES.items()
    }
