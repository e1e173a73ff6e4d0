"""What all tests share: the installed command as a user runs it, and the golden files."""

import atexit
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import warm
from tests.warm import clean_environment

ROOT = Path(__file__).parent.parent
TEST_CONF = ROOT / "tests" / "conf"
OLD_STUDY = ROOT / "tests" / "old_study" / "old"
"""Of the version before; tests/old_study says how it was made."""

_STATE = tempfile.TemporaryDirectory(prefix="vit_sweep-state-")
os.environ["XDG_STATE_HOME"] = _STATE.name
"""What tests let studies run is nobody's consent."""
_CACHE = tempfile.TemporaryDirectory(prefix="vit_sweep-cache-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name
"""What tests compose is kept for none of their user's commands."""
_RUNTIME = tempfile.TemporaryDirectory(prefix="run-")
os.environ["XDG_RUNTIME_DIR"] = _RUNTIME.name
"""Where a queue has its locks of cores if the path of its temporary folder is too long for a socket: else they would be
those of all queues of this machine, and a test would wait for whoever holds them."""
for _size in ("COLUMNS", "LINES"):  # that readline hands to whatever a process starts, pytest's workers too
    os.environ.pop(_size, None)
LONG = os.environ.get("VIT_SWEEP_LONG_TESTS") == "1"
"""Whether long proofs run whole (docs/study/reliability.md)."""
# A loaded machine may be as slow as it likes.
settings.register_profile("slow_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow_machine")

# A shell has what it starts in the background ignore SIGINT, and so would every client that a test starts and presses.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path, config):
    """A file of which `-m` wants no test is not imported: with torch that takes seconds, and all files take many.

    Neither one that is left out as a whole (`not train`), nor one that does not name what is asked for (`slurm`).
    """
    expression = config.option.markexpr
    asked = [mark for mark in ("train", "slurm") if mark in expression]
    if not asked or " or " in expression or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    left_out = [mark for mark in asked if f"not {mark}" in expression]
    if any(f"pytest.mark.{mark}" not in text for mark in asked if mark not in left_out):
        return True
    whole = rf"^pytestmark = (\[[^]]*)?\bpytest\.mark\.({'|'.join(left_out)})\b"
    return bool(left_out and re.search(whole, text, re.MULTILINE)) or None


def pytest_collection_finish(session):
    """What the tests have imported stays; a look through it all for garbage takes up to a second each time."""
    trains = "not train" not in session.config.option.markexpr
    assert trains or "torch" not in sys.modules, (
        "tests that do not train import torch: mark their file, or import it later"
    )
    of_slurm = [item for item in session.items if ROOT / "tests" / "slurm" in item.path.parents]
    unmarked = {item.path.name for item in of_slurm if item.get_closest_marker("slurm") is None}
    assert not unmarked, f"{unmarked}: another stage would start a cluster for them; pytestmark = pytest.mark.slurm"
    warm.freeze()
    atexit.register(gc.unfreeze)  # or libraries speak of leaks at the end


def pytest_addoption(parser):
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew; read the diff")
    parser.addoption("--renew-docs", action="store_true", help="write the outputs of docs/ anew; read the diff")


@pytest.fixture
def sweep(tmp_path):
    """Run `python -m vit_sweep WORDS` in an empty folder; returns the completed process."""

    def run(*words, env=None, timeout=900, cwd=tmp_path):
        return warm.run(*words, cwd=cwd, env=env or {}, timeout=timeout)

    return run


@pytest.fixture
def start():
    """Start a program of ours with pipes for what it reads and says, as text; none outlives the test."""
    started = []

    def run(*words, **environment):
        process = subprocess.Popen(
            [sys.executable, *words],
            env=clean_environment() | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def why_no_real_hosts(programs, what, path=None):
    """The reason why `what` cannot run here, or None. Where it could be installed, its absence is a failure."""
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if missing and not may_install:
        return f"{', '.join(missing)} missing, and installing {what} takes root on Debian"
    assert not missing, f"{', '.join(missing)} missing: run tests/install.sh (make test does)"
    if os.geteuid() != 0:
        return f"starting {what} with host names of its own takes root"
    probe = subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True, text=True)
    return f"no private host names here: {probe.stderr.strip()}" if probe.returncode else None


@pytest.fixture
def bounded():
    """A test that waits for what never comes, as who opens a pipe without a writer does, fails instead of hanging."""

    def give_up(*_):
        pytest.fail("waited in vain for five minutes")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def wait_for(condition, what="waited in vain", interval_s=0.05):
    """Ask every so many seconds until `condition()` is true, and return what it said; `what` is said of a vain wait.

    Like every limit in these tests this one is for what never comes: it is far above what a loaded machine takes.
    """
    end = time.monotonic() + 300
    while not (outcome := condition()):
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(interval_s)
    return outcome
