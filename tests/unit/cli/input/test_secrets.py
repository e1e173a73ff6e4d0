"""A token that a job needs stands in no file, table, report or screen if it was given as a reference."""

import itertools
import json

import pytest

from tests.conftest import TEST_CONF
from vit_sweep.report.figure import SWITCH

PLANTED = "planted-s3cret-8271"
WORDS = [f"--config-dir={TEST_CONF}", "model=vit_test", "data=quick", "epochs=2", "batch=16", "study=s"]


def holding(folder):
    """Files that hold the token, by the name that they have within `folder`."""
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() and PLANTED.encode() in path.read_bytes()
    }


def shown(sweep):
    """What the verbs that read print of the study."""
    commands = (["status", "s"], ["collect", "s"], ["report", "s"], ["render-diff", "s", "other"])
    sweep(*WORDS[:-1], "study=other", "dry_run=true")
    answers = [sweep(*command, env={SWITCH: "svg"}) for command in commands]
    assert all(answer.returncode in (0, 1, 3) for answer in answers), [answer.stderr for answer in answers]
    return "".join(itertools.chain(*((answer.stdout, answer.stderr) for answer in answers)))


@pytest.mark.parametrize("words", [["partition=local"], ["-m", "partition=tesla"], ["-m", "partition=vector_t4v2"]])
def test_a_reference_is_resolved_in_no_file_and_on_no_screen(words, sweep, tmp_path):
    given = ["TOK=${oc.env:MY_TOKEN}", "HEADER='Bearer ${oc.env:MY_TOKEN}'", "PLAIN=${partition.name}"]
    given = [f"++partition.environment.{word}" for word in given]
    answer = sweep(*words[:-1], *WORDS, words[-1], "dry_run=stdout", *given, env={"MY_TOKEN": PLANTED})
    assert answer.returncode == 0, answer.stderr
    (profile,) = json.loads((tmp_path / "outputs/s/plan.json").read_text())["profiles"]
    environment = {name: profile["environment"][name] for name in ("TOK", "HEADER", "PLAIN")}
    assert environment == {
        "TOK": "${oc.env:MY_TOKEN}",
        "HEADER": "Bearer ${oc.env:MY_TOKEN}",
        "PLAIN": words[-1].partition("=")[2],
    }
    assert PLANTED not in answer.stdout + answer.stderr + (shown(sweep) if len(words) == 1 else "")
    assert not holding(tmp_path)


@pytest.mark.parametrize("partition", ["tesla", "vector_t4v2"])
def test_a_secret_that_was_written_out_is_masked_on_screens_and_private_in_files(partition, sweep, tmp_path):
    given = f"++partition.environment.TOK={PLANTED}"
    answer = sweep(*WORDS, f"partition={partition}", "dry_run=stdout", given)
    assert answer.returncode == 0, answer.stderr
    assert PLANTED not in answer.stdout + answer.stderr + (shown(sweep) if partition == "tesla" else "")
    files = holding(tmp_path / "outputs/s")
    assert {"plan.json"} < files.keys()
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert not {"study.json", "report.html"} & files.keys()
    assert "TOK=***" in (tmp_path / "outputs/s/study.json").read_text()


def test_a_profile_shows_neither_a_reference_nor_a_secret(sweep, tmp_path):
    folder = tmp_path / "site" / "partition"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "name: mine\nscheduler: local\nnodes: 1\ngpus_per_node: 1\ngpu_model: CPU\ndevice: cpu\n"
        f"environment:\n  A: ${{oc.env:MY_TOKEN}}\n  API_KEY: {PLANTED}\nsetup:\n  - export TOK={PLANTED}\n"
    )
    for verb in ("show", "check"):
        answer = sweep("profiles", verb, "mine", f"--config-dir={tmp_path}/site", env={"MY_TOKEN": PLANTED})
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert PLANTED not in answer.stdout + answer.stderr
