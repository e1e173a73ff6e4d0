"""A user's mistake is one sentence with a next step, exit code 2, no traceback, and nothing is lost."""

import errno
import json
import os
import sys

import pytest
from filelock import FileLock

MISTAKES = {
    "an unknown partition shows the menu": (["partition=nope"], ["no such partition", "local", "vector_t4v2"]),
    "an unknown model shows the menu": (["model=vit_x"], ["no such model", "vit_b_16", "vit_tiny_32"]),
    "an unknown data set shows the likeliest": (["data=mnist"], ["no such data", "did you mean medmnist?"]),
    "gpus=0": (["gpus=0"], ["gpus=0", "at least 1"]),
    "gpus=-1": (["gpus=-1"], ["gpus=-1", "at least 1"]),
    "gpus=1.5": (["gpus=1.5"], ["gpus=1.5", "whole number"]),
    "gpus=abc": (["gpus=abc"], ["gpus=abc", "whole number"]),
    "gpus=true": (["gpus=true"], ["gpus=True", "whole number"]),
    "batch=0": (["batch=0"], ["batch=0", "at least 1"]),
    "a global batch that does not divide": (
        ["batch=100", "gpus=8", "batch_per=global"],
        ["batch=100", "do not divide over 8 ranks", "use 96 or 104"],
    ),
    "more GPUs than the partition has": (["gpus=9"], ["gpus=9", "1 node x 8 GPUs = 8"]),
    "GPUs that do not divide over nodes": (["nodes=3", "gpus=4"], ["nodes=3 gpus=4", "do not divide"]),
    "weak scaling of a global batch": (["scaling=weak", "batch_per=global"], ["means nothing", "batch_per=gpu"]),
    "a misspelt scaling mode": (["scaling=stong"], ["scaling=stong", "'strong' or 'weak'"]),
    "an empty value": (["-m", "gpus="], ["gpus=", "whole number"]),
    "an empty grid": (["-m", "gpus=range(1,1)"], ["grid is empty"]),
    "an interval": (["-m", "gpus=interval(1,4)"], ["stated values"]),
    "a range that never ends": (["-m", "seed=range(0,9,0)"], ["a step of 0 never arrives"]),
    "a grid that no memory holds": (
        ["-m", "seed=range(0,1000000000000)"],
        ["1,000,000,000,000 points", "100,000 at most"],
    ),
    "axes whose product nobody waits for": (
        ["-m", "gpus=range(1,9)", "seed=range(0,20000)"],
        ["160,000 points", "study=NAME"],
    ),
    "repeats beyond that": (["-m", "batch=range(1,102)", "repeats=1000"], ["101,000 points"]),
    "a grid without -m": (["gpus=1,2"], ["needs -m", "-m gpus=1,2"]),
    "a swept setting": (["-m", "study=a,b"], ["study cannot be swept"]),
    "a misspelt key": (["gpu=2"], ["gpu: there is no such key", "did you mean gpus"]),
    "a misspelt key of a group": (["model.layerz=3"], ["did you mean layers"]),
    "a key of a group that this option leaves out": (
        ["partition.mixed_hosts=true"],
        ["does not set it", "++partition.mixed_hosts=VALUE"],
    ),
    "an added key": (["+foo=1"], ["unknown key foo", "gpus"]),
    "a key added to a group": (["+engine.stage=1"], ["unknown key engine.stage", "zero_stage"]),
    "a Hydra launcher": (["hydra/launcher=basic_"], ["hydra/launcher"]),
    "a misspelt verb": (["colect", "x"], ["did you mean collect"]),
    "a study that is none": (["collect", "nothing"], ["nothing is not a study"]),
    "a study name that climbs out": (["study=../x"], ["study=../x", "letters, digits"]),
    "data that are not there": (["data=cifar10"], ["data_batch_1 is missing", "data prepare cifar10"]),
    "an unknown data set to prepare": (["data", "prepare", "cifar11"], ["did you mean cifar10"]),
    "fewer images than ranks": (
        ["gpus=8", "batch=1", "fraction=0.001"],
        ["1 x 1 x 8 = 8 is more than the 1 image of an epoch", "or more data"],
    ),
    "fewer images than ranks, each with a share of its own": (
        ["gpus=8", "scaling=weak", "fraction=0.001"],
        ["gpus=8: 1 selected image, fewer than the GPUs", "fewer GPUs"],
    ),
    "a precision that the partition refuses": (["precision=fp16"], ["precision=fp16", "use fp32 or bf16"]),
    "a learning rate of nothing": (["optimizer.learning_rate=0"], ["learning_rate=0", "above 0"]),
    "a ZeRO stage that there is not": (["zero=4"], ["zero=4", "at most 3"]),
    "two words on the ZeRO stage": (["zero=2", "engine=zero1"], ["both say the ZeRO stage"]),
    "compilation on a CPU": (["compile=true"], ["compile=true", "CPU partition"]),
    "TF32 on a CPU": (["precision=tf32"], ["precision=tf32", "use fp32 or bf16"]),
    "a rule that there is not": (["lr_scaling=cubic"], ["lr_scaling=cubic", "'none', 'linear' or 'sqrt'"]),
    "further keys that are none": (
        ["zero=1", "++engine.config=[x]"],
        ["engine.config=['x']", "++engine.config.KEY=VALUE"],
    ),
    "a further key that is unknown": (
        ["zero=1", "++engine.config.gradient_clip=1"],
        ["did you mean gradient_clipping"],
    ),
    "offload where nothing is sharded": (["engine.offload_optimizer=cpu"], ["use zero=1 or 2 or 3"]),
    "a schedule that there is not": (["schedule=cubic"], ["schedule=cubic", "'constant', 'cosine' or 'linear'"]),
    "an optimizer by layers in flat pieces": (["optimizer=lamb", "zero=1"], ["lamb looks at whole tensors"]),
    "a negative warm-up": (["lr_warmup_epochs=-1"], ["lr_warmup_epochs=-1", "at least 0"]),
    "a warm-up longer than the run": (["lr_warmup_epochs=9"], ["inside its warm-up"]),
    "an accuracy in percent": (["target_accuracy=90"], ["target_accuracy=90", "at most 1"]),
    "a task that there is not": (["task=regresion"], ["task=regresion", "'regression'"]),
    "a task without targets": (["task=multilabel", "data=cifar10"], ["labelled for classification", "use task=class"]),
    "numbers to an accuracy": (["task=regression", "target_accuracy=0.9"], ["task=regression", "leave it out"]),
    "a pipeline that there is not": (["data.pipeline=x"], ["data.pipeline=x", "'device' or 'loader'"]),
    "a pipeline that is no word": (["data.pipeline=[device]"], ["data.pipeline=['device']"]),
    "an augmentation that is no yes or no": (["data.augment=x"], ["data.augment=x", "true or false"]),
    "a pipeline without its group": (["pipeline=loader"], ["did you mean data.pipeline"]),
    "an interval of nothing": (["repeat_until=0"], ["repeat_until=0", "above 0"]),
    "an exclusion by no axis": (["-m", "gpus=1,2", 'exclude=["gpu==2"]'], ["there is no axis gpu"]),
    "an exclusion without quotes": (["-m", "gpus=1,2", "exclude=[gpus==2]"], ["quoted inside the shell's quotes"]),
    "a zip of what is not swept": (["-m", "gpus=1,2", "zip=[[gpus,batch]]"], ["batch is not swept"]),
    "a zip of nothing swept": (["zip=[[gpus,batch]]"], ["nothing is swept"]),
    "repeats of swept seeds": (["-m", "seed=0,1", "repeats=2"], ["repeats=2 seed=0,1"]),
    "no repeat": (["repeats=0"], ["repeats=0"]),
    "an order that there is not": (["order=biggest"], ["'largest_first'"]),
    "a swept order": (["-m", "order=random,as_given"], ["order cannot be swept"]),
    "a named grid without -m": (["grid=paper_fig8"], ["needs -m: python -m vit_sweep -m grid=paper_fig8"]),
    "a misspelt grid": (["-m", "grid=paper_fig88"], ["did you mean paper_fig8"]),
    "broken grammar": (["gpus=[1,"], ["gpus=[1,: a bracket has no other half"]),
}


@pytest.mark.parametrize(("words", "sentences"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_in_words_and_leaves_nothing_behind(sweep, tmp_path, words, sentences):
    answer = sweep(*words)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert answer.stderr.startswith("error: ")
    assert "Traceback" not in answer.stderr
    for part in sentences:
        assert part in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["-m"]], ids=["one cell", "a grid"])
@pytest.mark.parametrize("setup", ["&a [*a]", "[" * 3000 + "]" * 3000], ids=["inside itself", "deep"])
def test_a_profile_that_no_stack_holds_is_a_sentence(sweep, tmp_path, words, setup):
    site = tmp_path / "site" / "partition"
    site.mkdir(parents=True)
    (site / "lab.yaml").write_text(f"name: lab\nscheduler: local\nnodes: 1\ngpus_per_node: 1\nsetup: {setup}\n")
    answer = sweep(
        *words, f"--config-dir={site.parent}", "partition=lab", "dry_run=true", f"seed={'1,2' if words else 1}"
    )
    assert answer.returncode == 2, answer.stderr[-500:]
    assert answer.stderr.startswith("error: a word or a configuration file has values too deep inside each other")


def test_a_word_that_no_stack_holds_is_a_sentence(sweep):
    answer = sweep(f"++partition.setup={'[' * 3000}{']' * 3000}")
    assert answer.returncode == 2, answer.stderr[-500:]
    assert answer.stderr.startswith("error: a word or a configuration file has values too deep")


def test_some_infeasible_points_do_not_stop_the_others(sweep):
    answer = sweep("-m", "gpus=1,16", "dry_run=true")
    assert answer.returncode == 0
    assert "skipped gpus=16: local has 1 node x 8 GPUs = 8" in answer.stdout


def test_a_damaged_data_file_is_named_with_both_checksums(sweep, tmp_path):
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    (folder / "train").write_bytes(b"half a download")
    answer = sweep("data=cifar100")
    assert answer.returncode == 2
    assert "train is damaged (md5 " in answer.stderr
    assert "expected 16019d7e3df5f24257cddd939b257f8d" in answer.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_folder_that_is_not_ours_is_left_alone(sweep, tmp_path):
    folder = tmp_path / "outputs" / "thesis"
    folder.mkdir(parents=True)
    (folder / "chapter1.txt").write_text("precious")
    answer = sweep("study=thesis", "dry_run=true")
    assert answer.returncode == 2
    assert "exists and is not a study" in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["chapter1.txt"]


def test_outputs_that_cannot_be_written_are_told(sweep, tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    answer = sweep("dry_run=true")
    assert answer.returncode == 2
    assert "cannot write to" in answer.stderr
    assert "outputs=FOLDER" in answer.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(sweep, tmp_path):
    (tmp_path / "outputs").mkdir(mode=0o555)
    assert "cannot write to" in sweep("dry_run=true").stderr


def test_a_second_sweep_on_a_busy_study_is_refused_without_damage(sweep, tmp_path):
    assert sweep("dry_run=true", "study=busy").returncode == 0
    folder = tmp_path / "outputs" / "busy"
    before = {p: p.read_bytes() for p in folder.rglob("*.json")}
    with FileLock(folder / ".lock"):
        answer = sweep("dry_run=true", "study=busy", "gpus=2")
    assert answer.returncode == 2
    assert "study busy is being changed by" in answer.stderr
    assert {p: p.read_bytes() for p in folder.rglob("*.json")} == before
    assert sweep("dry_run=true", "study=busy", "gpus=2").returncode == 0


def test_a_damaged_study_file_is_named_and_passed_over(sweep, tmp_path):
    assert sweep("dry_run=true", "study=s").returncode == 0
    folder = tmp_path / "outputs" / "s"
    whole = (folder / "study.json").read_text()
    for path in [*folder.glob("cells/*/cell.json"), folder / "plan.json", folder / "study.json"]:
        path.write_text(path.read_text()[:40])
    answer = sweep("status", "outputs/s")
    assert answer.returncode == 3
    assert "passed over" in answer.stdout
    assert "cell.json" in answer.stdout
    # Where nobody can read whether somebody has asked for the study, a dry run changes nothing in it.
    assert sweep("dry_run=true", "study=s").returncode == 0
    assert len((folder / "plan.json").read_text()) == 40
    (folder / "study.json").write_text(whole)
    assert sweep("dry_run=true", "study=s").returncode == 0
    assert json.loads((folder / "plan.json").read_text())["points"]


def test_a_missing_sbatch_is_told_before_anything_is_queued(sweep, tmp_path):
    answer = sweep("partition=vector_t4v2", "wait=false", env={"PATH": "/nonexistent"})
    assert answer.returncode == 2
    assert "sbatch is not on PATH" in answer.stderr
    assert "dry_run=true" in answer.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence_and_no_traceback(tmp_path, monkeypatch, capsys, number):
    """The lock and the tables of an audit's study alike: whatever is written goes through one function."""
    from vit_sweep.__main__ import main
    from vit_sweep.study.lock import changing

    def full(*_arguments):
        raise OSError(number, os.strerror(number), str(tmp_path / ".lock.owner"))

    def command(_words):
        with changing(tmp_path):
            return 0

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr("vit_sweep.__main__._command", command)
    assert main([]) == 2
    assert (
        f"error: {tmp_path}/.lock.owner cannot be written: {os.strerror(number)} – free some" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("error", "of_what"),
    [
        (RuntimeError("can't start new thread"), "processes and threads (ulimit -u)"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "processes and threads (ulimit -u)"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "open files (ulimit -n)"),
    ],
    ids=["thread", "process", "file"],
)
def test_a_limit_of_the_system_is_a_sentence_and_no_traceback(monkeypatch, capsys, error, of_what):
    from vit_sweep.__main__ import main

    def command(_words):
        raise error

    monkeypatch.setattr("vit_sweep.__main__._command", command)
    assert main([]) == 2
    assert f"error: {error} – the system allows this user no more {of_what}: raise" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["status", "a" * 300], ["collect", "/a" * 3000], ["outputs=" + "/a" * 3000]])
def test_names_that_are_too_long_are_a_sentence(sweep, words):
    ended = sweep(*words)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "File name too long" in ended.stderr


def test_a_terminal_without_our_letters_ends_no_command(sweep):
    ended = sweep("profiles", "list", env={"PYTHONIOENCODING": "ascii"})
    assert (ended.returncode, ended.stderr) == (0, "")


def test_under_a_locale_with_other_letters_a_command_begins_again_in_utf8(monkeypatch):
    """Else the bytes of a path would be other letters, and in a script other bytes."""
    from vit_sweep import __main__ as command

    begun = []
    monkeypatch.setattr(os, "execv", lambda program, words: begun.append((program, words, os.environ["PYTHONUTF8"])))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "vit_sweep", "gpus=1"])
    monkeypatch.setenv("PYTHONUTF8", "")
    monkeypatch.delenv("PYTHONUTF8")
    command.in_utf8()
    assert begun == []
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    command.in_utf8()
    command.in_utf8()
    assert begun == [(sys.executable, [sys.executable, "-m", "vit_sweep", "gpus=1"], "1")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["help"], "there is no such verb – write python -m vit_sweep --help"),
        (["version"], "write python -m vit_sweep --version"),
        (["gpus"], "gpus: a key is followed by its value: gpus=VALUE; python -m vit_sweep explain gpus"),
        (["stauts"], "did you mean status?"),
        (["-m", "study=a&b", "gpus=1,2"], "study=a&b: it cannot be read – values are separated by commas"),
    ],
)
def test_a_word_that_is_no_verb_or_cannot_be_read_is_answered_with_what_is_meant(sweep, words, said):
    answer = sweep(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr
