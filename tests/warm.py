"""`python -m vit_sweep` from a process that has imported everything once: `warm.py SOCKET` serves, `run` asks it.

Importing takes a command several times as long as its work, and the tests give hundreds of them. The server forks for
each command; the child has the caller's folder, environment and output, and from there on nothing differs.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_DESCRIPTORS = 3
_MESSAGE = 1 << 20


class Server:
    """The warm process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self._address = str(Path(self._folder.name) / "socket")
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._address],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the warm server did not start"

    def run(self, words, *, cwd, env, timeout):
        """Run one command and wait for it; raises `TimeoutExpired` as `subprocess.run` does, the command killed."""
        request = json.dumps({"words": [str(word) for word in words], "cwd": str(cwd), "env": env}).encode()
        with (
            tempfile.TemporaryFile("w+", newline="") as out,
            tempfile.TemporaryFile("w+", newline="") as err,
            Path(os.devnull).open() as nothing,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.connect(self._address)
            connection.settimeout(timeout)
            socket.send_fds(connection, [request], [nothing.fileno(), out.fileno(), err.fileno()])
            pid = int(connection.recv(64))
            try:
                code = connection.recv(64)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                connection.settimeout(None)
                connection.recv(64)
                raise subprocess.TimeoutExpired(words, timeout) from None
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, int(code), out.read(), err.read())

    def stop(self) -> None:
        """End the server; commands still running go on, as they would without it."""
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()


@functools.cache
def _server() -> Server:
    """The one of this process, which ends with it."""
    server = Server()
    atexit.register(server.stop)
    return server


def run(*words, cwd, env, timeout=900):
    """`python -m vit_sweep WORDS`; `env` is added to a user's who has set nothing. Returns the completed process."""
    environment = clean_environment() | env
    if not any(name.startswith("PYTHON") for name in env):
        return _server().run(words, cwd=cwd, env=environment, timeout=timeout)
    # Python reads these at its start.
    command = [sys.executable, "-m", "vit_sweep", *words]
    given = {"cwd": cwd, "env": environment, "timeout": timeout, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, capture_output=True, text=True, **given)


def clean_environment():
    """The environment of a user who has set nothing of ours; figures are drawn only where a test wants them.

    The temporary folder is of this process of pytest: locks of cores and hosts lie there, and would else make its
    sweeps wait for those of whoever tests on this machine as well.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VIT_SWEEP_", "SLURM_", "HYDRA_", "COLUMNS"))}
    return kept | {"VIT_SWEEP_FIGURES": "off", "TMPDIR": _temporary_folder().name}


@functools.cache
def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True)
    Path(folder.name).chmod(0o1777)  # as every user's is
    return folder


def serve(address: str) -> None:
    """Fork for every connection until told to end, or until who started this is gone, killed perhaps.

    Once, since a fork copies what a quarter of a gigabyte takes.
    """
    starter = os.pidfd_open(os.getppid())
    _import_everything()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with selectors.DefaultSelector() as news:
        news.register(listener, selectors.EVENT_READ)
        news.register(starter, selectors.EVENT_READ)
        while True:
            for key, _ in news.select():
                if key.fd == starter:
                    return
                if key.fileobj is listener:
                    _begin(listener.accept()[0], news)
                else:
                    news.unregister(key.fileobj)
                    os.close(key.fd)
                    _end(*key.data)


def _begin(connection: socket.socket, news: selectors.BaseSelector) -> None:
    """Run one command in a child of this process, and say its pid."""
    request, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE, _DESCRIPTORS)
    child = os.fork()
    if child == 0:
        # What the server watches is no business of a command's, nor of what that starts.
        for key in news.get_map().values():
            os.close(key.fd)
            if key.data is not None:
                key.data[0].close()
        news.close()
        connection.close()
        os._exit(_command(json.loads(request), descriptors))
    for descriptor in descriptors:
        os.close(descriptor)
    news.register(os.pidfd_open(child), selectors.EVENT_READ, (connection, child))
    connection.send(str(child).encode())


def _end(connection: socket.socket, child: int) -> None:
    """Say the code of a command that has ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with connection, contextlib.suppress(ConnectionError):  # who asked may have been killed
        connection.send(str(code).encode())


def _command(request: dict[str, Any], descriptors: list[int]) -> int:
    """Be the command."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    tempfile.tempdir = None  # the server's, which it has looked for already
    # What Python makes at its start of the environment and of where its output goes.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = [str(ROOT / "vit_sweep" / "__main__.py"), *request["words"]]
    from vit_sweep.__main__ import main

    code = 1
    try:
        code = main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _import_everything() -> None:
    """Import what commands import, by naming every module of the rooms that they use, and by composing once."""
    import vit_sweep

    rooms = ("analysis", "cli", "config", "data", "outcome", "plan", "record", "report", "runs", "study", "submit")
    for room in rooms:
        for module in pkgutil.walk_packages([f"{vit_sweep.__path__[0]}/{room}"], f"vit_sweep.{room}."):
            if not module.name.startswith("vit_sweep.data.prepare"):
                importlib.import_module(module.name)
    from vit_sweep.__main__ import main

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        here = Path.cwd()
        os.chdir(folder)
        assert main(["dry_run=true"]) == 0
        os.chdir(here)
    freeze()  # a look for garbage in a child would copy every page that it shares with this process


count_frozen = gc.get_freeze_count
"""Python's own, which `freeze` puts an answer in place of."""


def freeze() -> None:
    """Nothing that there is now is looked through for garbage, nor walked by whoever asks whether something is frozen.

    Python counts one by one what is: 40 ms, and every reading of a study asks.
    """
    gc.freeze()
    gc.get_freeze_count = lambda: 1


if __name__ == "__main__":
    serve(sys.argv[1])
