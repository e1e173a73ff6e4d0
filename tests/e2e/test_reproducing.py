"""A capsule that was moved: a sample of its cells trains again, is killed in the middle, goes on and is judged."""

import json
import shutil
import signal
import subprocess
import sys
import zipfile

import psutil
import pytest

from tests.conftest import wait_for
from tests.e2e.conftest import MEASURED
from tests.warm import clean_environment

pytestmark = pytest.mark.train
GRID = [*MEASURED, "gpus=1,2", "repeats=2", "partition=local", "preflight=off", "exposed=off"]
COUNTS = {"flop", "operations", "parameters", "all_parameters", "host_reads"}


def ended(cells):
    return {path.parent.name: path.read_bytes() for path in cells.glob("*/record.json")}


def kill_all_of(client, study):
    """The client, and the queue that would go on without it, with all that it has started."""
    client.kill()
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if "launchers.local.queue" in words and str(study) in words:
                family = [process, *process.children(recursive=True)]
                for member in family:
                    member.send_signal(signal.SIGKILL)
                psutil.wait_procs(family, timeout=60)
        except psutil.Error:
            continue
    client.wait(60)


def test_two_cells_of_a_moved_capsule_run_again_through_a_kill_and_are_judged(tmp_path, sweep):
    pytest.importorskip("rocrate")
    result = sweep("-m", *GRID)
    assert result.returncode == 0, result.stdout + result.stderr
    packed = sweep("capsule", "s", "--license", "CC0-1.0", "--author", "A. Nobody", "--out", "theirs.zip")
    assert packed.returncode == 0, packed.stderr
    elsewhere = tmp_path / "another desk"
    elsewhere.mkdir()
    shutil.move(tmp_path / "theirs.zip", elsewhere)
    shutil.rmtree(tmp_path / "outputs")

    cells = elsewhere / "outputs/s-again/cells"
    words = ["reproduce", "theirs.zip", "--run", "--cells", "2"]
    client = subprocess.Popen(
        [sys.executable, "-m", "vit_sweep", *words], cwd=elsewhere, env=clean_environment(), stdout=subprocess.DEVNULL
    )
    wait_for(lambda: ended(cells) or client.poll() is not None, interval_s=0.02)
    kill_all_of(client, elsewhere)
    first = ended(cells)
    assert len([*cells.iterdir()]) == 2 and first

    again = sweep(*words, "--json", "--junit", "gate.xml", "--within", "1", cwd=elsewhere)
    assert ended(cells).items() >= first.items(), "what had finished ran again"
    assert len(ended(cells)) == 2, again.stderr
    assert "to run again: 2 of 4 cells, about 0.0" in again.stderr
    parsed = json.loads(again.stdout)
    assert again.returncode == {"reproduced": 0, "differs": 1, "cannot tell": 4}[parsed["outcome"]]
    by_name = {}
    for figure in parsed["figures"]:
        by_name.setdefault(figure["name"], []).append(figure["outcome"])
    # Counts have no noise; what a busy machine makes of times and memory is not this test's.
    assert by_name.keys() >= COUNTS and {outcome for name in COUNTS for outcome in by_name[name]} == {"reproduced"}
    assert len(by_name["flop"]) == 2 and parsed["left"] == 0 and parsed["cannot_run"] == {}
    assert (elsewhere / "gate.xml").is_file()

    with zipfile.ZipFile(elsewhere / "theirs.zip") as theirs:
        theirs.extractall(elsewhere / "sown")
    path = min((elsewhere / "sown").glob("outputs/s/cells/*/cell.json"))
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5').replace('"seed": 1', '"seed": 5'))
    sown = sweep("reproduce", "sown", "--run", "study=other", cwd=elsewhere)
    assert sown.returncode == 1 and f"{path.parent.name}/cell.json has changed" in " ".join(sown.stdout.split())
    assert not (elsewhere / "outputs/other").exists()
