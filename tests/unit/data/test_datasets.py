"""Data files: read once for their checksum, copied once per node, and never a reason for a job to fail by itself."""

import hashlib
import itertools
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock, Timeout
from typer.testing import CliRunner

from launchers.errors import UserError
from tests.conftest import wait_for
from vit_sweep.cli.setup import data as data_cli
from vit_sweep.data import datasets, staging
from vit_sweep.data.packed import Manifest, PackedFile
from vit_sweep.plan.choices import DataSource
from vit_sweep.plan.specs import DataFile, DataSpec

CONTENTS = {"set/train": b"t" * 5000, "set/test": b"s" * 500, "set/meta": b"m"}

STAGE = """
import sys
from collections import Counter
from pathlib import Path
from launchers.checked import parse_json
from vit_sweep.data import datasets, staging
from vit_sweep.plan.specs import DataSpec

spec, root, scratch = parse_json(DataSpec, sys.argv[1], source="spec"), Path(sys.argv[2]), sys.argv[3]
opened = Counter()
real = datasets.reading
def counted(path):
    opened["root"] += root in path.parents
    return real(path)
datasets.reading = staging.reading = counted
print("ready", flush=True)
input()
folder = staging.staged(spec, root, scratch, lambda _: input() if sys.argv[4:] else None)
print(folder, opened["root"], datasets.problem_of(spec, folder))
"""


def spec_of(contents, name="tiny"):
    files = tuple(DataFile(path=path, md5=hashlib.md5(content).hexdigest()) for path, content in contents.items())
    return DataSpec(name=name, source=DataSource.CIFAR100, train_images=9, test_images=1, classes=2, files=files)


def put(root, contents):
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


@pytest.fixture
def root(tmp_path):
    put(tmp_path / "root", CONTENTS)
    return tmp_path / "root"


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return str(tmp_path / "scratch")


@pytest.fixture
def spec():
    return spec_of(CONTENTS)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read for their checksum, in order."""
    names = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda f, kind: (names.append(Path(f.name).name), real(f, kind))[1])
    return names


@pytest.fixture
def stage_process(start):
    """Start `staged` in a process of its own: prints the folder, reads of the root, and what is wrong.

    With one more word it goes no further than a first piece.
    """
    from launchers.checked import to_json

    return lambda spec, *words: start("-c", STAGE, to_json(spec), *words)


def go(*processes):
    """Let processes that have done their imports stage at the same moment."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


# -- verifying ---------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_file_is_said(spec, root):
    assert datasets.problem_of(spec, root) is None
    (root / "set/test").write_bytes(b"other")
    assert "set/test is damaged (md5 " in datasets.problem_of(spec, root)
    (root / "set/test").unlink()
    assert datasets.problem_of(spec, root).endswith("set/test is missing")
    (root / "set/test").mkdir()
    assert datasets.problem_of(spec, root).endswith("set/test is missing")
    assert datasets.problem_of(spec, root / "set/train").endswith("is missing")


@pytest.mark.usefixtures("bounded")
def test_a_pipe_in_place_of_a_file_is_said_and_not_waited_for(spec, root, scratch, capsys):
    (root / "set/test").unlink()
    os.mkfifo(root / "set/test")
    assert datasets.problem_of(spec, root).endswith("set/test cannot be read (not a regular file)")
    assert staging.staged(spec, root, scratch) == root
    assert "not a regular file" in capsys.readouterr().err
    (root / "photos-packed-8").mkdir()
    os.mkfifo(root / "photos-packed-8" / "manifest.json")
    assert datasets.problem_of(PHOTOS, root).endswith("manifest.json cannot be read (not a regular file)")


def test_the_words_of_a_missing_file_are_a_command_that_can_be_pasted(spec, tmp_path):
    with pytest.raises(UserError, match=r"data prepare tiny --root '.*my data'$"):
        datasets.require(spec, tmp_path / "my data")


def test_a_verified_file_is_not_read_again_by_anyone(spec, root, reads):
    assert datasets.problem_of(spec, root) is None
    assert reads == ["train", "test", "meta"]
    datasets._read_digest.cache_clear()  # as another process
    assert datasets.problem_of(spec, root) is None
    assert len(reads) == 3


def test_where_no_stamp_can_be_written_a_process_reads_once(spec, root, reads):
    for path in CONTENTS:
        (root / f"{path}.md5ok").mkdir()
    assert datasets.problem_of(spec, root) is None
    assert datasets.problem_of(spec, root) is None
    assert reads == ["train", "test", "meta"]


def test_a_stamp_does_not_speak_for_a_file_that_was_changed(spec, root):
    assert datasets.problem_of(spec, root) is None
    (root / "set/train").write_bytes(b"x" * 5000)
    assert "train is damaged" in datasets.problem_of(spec, root)


def test_a_stamp_does_not_speak_for_a_copy(spec, root, tmp_path):
    """`cp -a` brings stamps and times along; whether the copy is whole is another question."""
    assert datasets.problem_of(spec, root) is None
    shutil.copytree(root, tmp_path / "copy")
    about = (root / "set/train").stat()
    (tmp_path / "copy/set/train").write_bytes(b"x" * 5000)
    os.utime(tmp_path / "copy/set/train", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert "train is damaged" in datasets.problem_of(spec, tmp_path / "copy")


def test_a_stamp_does_not_speak_for_another_checksum(spec, root):
    assert datasets.problem_of(spec, root) is None
    assert "train is damaged" in datasets.problem_of(spec_of(CONTENTS | {"set/train": b"another version"}), root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("planted", ["set/train", "set/train.md5ok"])
@pytest.mark.parametrize("open_to", [lambda path: os.chown(path, 12345, -1), lambda path: path.chmod(0o664)])
def test_a_stamp_that_somebody_else_may_have_put_there_is_none(spec, root, reads, planted, open_to):
    """A pickle of theirs, with a stamp of theirs that says that it is the published file."""
    assert datasets.problem_of(spec, root) is None
    open_to(root / planted)
    reads.clear()
    datasets._read_digest.cache_clear()  # as another process has it
    assert datasets.problem_of(spec, root) is None
    assert reads == ["train"]


@pytest.mark.parametrize("stamp", [b"", b"\xff\xfe garbage", b"0" * 32])
def test_a_damaged_stamp_is_no_stamp(spec, root, reads, stamp):
    (root / "set/train.md5ok").write_bytes(stamp)
    assert datasets.problem_of(spec, root) is None
    assert reads == ["train", "test", "meta"]


# -- staging -----------------------------------------------------------------------------------------


def test_without_scratch_or_without_files_data_is_read_in_place(spec, root, scratch):
    assert staging.staged(spec, root, None) == root
    assert staging.staged(spec_of({}), root, scratch) == root
    assert list(Path(scratch).iterdir()) == []


def test_a_node_gets_one_copy_that_later_jobs_neither_copy_nor_read(spec, root, scratch, reads, capsys):
    folder = staging.staged(spec, root, scratch)
    assert folder.is_relative_to(scratch)
    assert {path: (folder / path).read_bytes() for path in CONTENTS} == CONTENTS
    shutil.rmtree(root)
    datasets._read_digest.cache_clear()
    assert staging.staged(spec, root, scratch) == folder
    assert datasets.problem_of(spec, folder) is None
    assert reads == []
    assert capsys.readouterr().err == ""


def test_scratch_may_name_a_variable_of_the_job(spec, root, scratch, monkeypatch):
    monkeypatch.setenv("NODE_DISK", scratch)
    assert staging.staged(spec, root, "$NODE_DISK/a").is_relative_to(f"{scratch}/a")
    assert staging.staged(spec, root, "${NODE_DISK}/b").is_relative_to(f"{scratch}/b")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("$NOT_SET_HERE/x", "$NOT_SET_HERE is not set here"),
        ("${NOT_SET_HERE}", "$NOT_SET_HERE is not set here"),
        ("$EMPTY", "$EMPTY is not set here"),
        ("scratch", "scratch is not an absolute path"),
        ("FILE", "File exists"),
        ("FILE/below", "Not a directory"),
        ("/proc/none", "No such file or directory"),
    ],
)
def test_a_scratch_that_cannot_be_used_is_told_and_the_root_is_read(
    *, spec, root, tmp_path, words, reason, capsys, monkeypatch
):
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "file").write_text("")
    assert staging.staged(spec, root, words.replace("FILE", str(tmp_path / "file"))) == root
    message = capsys.readouterr().err
    assert message.startswith("data=tiny: not copied to scratch=")
    assert reason in message
    assert message.endswith(f"reading from {root}\n")
    assert message.count("\n") == 1


@pytest.mark.parametrize("how", ["open to all", "a link"])
def test_a_folder_that_others_can_write_is_not_used(*, spec, root, scratch, tmp_path, how, capsys):
    """The files are pickles: whoever writes them runs code in the job."""
    own_folder = Path(scratch) / f"vit_sweep-{os.getuid()}"
    if how == "a link":
        (tmp_path / "elsewhere").mkdir()
        own_folder.symlink_to(tmp_path / "elsewhere")
    else:
        own_folder.mkdir()
        own_folder.chmod(0o777)
    assert staging.staged(spec, root, scratch) == root
    assert "only you can write" in capsys.readouterr().err


def test_a_missing_or_damaged_source_is_told_as_such_and_leaves_no_copy(spec, root, scratch, capsys):
    (root / "set/test").write_bytes(b"damaged")
    assert staging.staged(spec, root, scratch) == root
    assert "set/test is damaged" in capsys.readouterr().err
    (root / "set/test").unlink()
    assert staging.staged(spec, root, scratch) == root
    assert "No such file" in capsys.readouterr().err
    assert datasets.problem_of(spec, root).endswith("set/test is missing")
    names = {path.name for path in Path(scratch).rglob("*") if path.is_file()}
    assert names == {".lock", "train", "train.md5ok"}, "only what was whole"


def test_a_copy_that_was_damaged_on_the_node_is_made_again(spec, root, scratch):
    folder = staging.staged(spec, root, scratch)
    (folder / "set/train").write_bytes(b"cut off")
    (folder / "set/meta").unlink()
    assert staging.staged(spec, root, scratch) == folder
    assert datasets.problem_of(spec, folder) is None


def test_data_sets_with_files_of_the_same_names_do_not_meet(spec, root, scratch, tmp_path):
    other = CONTENTS | {"set/train": b"another version"}
    put(tmp_path / "other", other)
    first, two = staging.staged(spec, root, scratch), staging.staged(spec_of(other), tmp_path / "other", scratch)
    assert first != two
    assert datasets.problem_of(spec, first) is datasets.problem_of(spec_of(other), two) is None


def test_ranks_that_start_at_once_make_one_copy(tmp_path, scratch, stage_process):
    contents = {path: os.urandom(10 << 20) for path in CONTENTS}  # long enough for them to meet
    put(tmp_path / "root", contents)
    ranks = [stage_process(spec_of(contents), tmp_path / "root", scratch) for _ in range(4)]
    go(*ranks)
    outputs = [rank.communicate(timeout=300) for rank in ranks]
    assert [err for _, err in outputs] == [""] * 4
    folders, reads, problems = zip(*(out.split() for out, _ in outputs), strict=True)
    assert len(set(folders)) == 1
    assert problems == ("None",) * 4
    assert sorted(map(int, reads)) == [0, 0, 0, len(CONTENTS)], "one rank reads each file of the root, once"


def test_a_copier_that_is_killed_leaves_its_work_to_the_one_that_waits(scratch, tmp_path, stage_process):
    contents = {"set/train": os.urandom(3 << 20)}
    put(tmp_path / "root", contents)
    words = spec_of(contents), tmp_path / "root", scratch
    copier = stage_process(*words, "held")
    go(copier)
    wait_for(lambda: any(p.stat().st_size >= 1 << 20 for p in Path(scratch).rglob(".train.tmp")))
    waiting = stage_process(*words)
    go(waiting)
    copier.kill()
    copier.communicate()
    out, err = waiting.communicate(timeout=300)
    assert err == ""
    folder = Path(out.split()[0])
    assert (folder / "set/train").read_bytes() == contents["set/train"]
    assert sorted(path.name for path in (folder / "set").iterdir()) == ["train", "train.md5ok"]


# -- the packed form of image folders ------------------------------------------------------------------

PIXELS = {"train.images.u8": b"p" * 768, "train.labels.i64": b"\0" * 32, "test.images.u8": b"q" * 192}
PHOTOS = DataSpec(name="photos", source=DataSource.IMAGEFOLDER, train_images=4, test_images=1, classes=2, side=8)


def put_packed(root, **changes):
    """The packed form as `data prepare` leaves it; returns its folder."""
    from launchers.checked import to_json

    folder = root / "photos-packed-8"
    put(folder, PIXELS)
    files = tuple(
        PackedFile(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in PIXELS.items()
    )
    defaults = {"data": "photos", "side": 8, "train_images": 4, "test_images": 1, "classes": ("cat", "dog")}
    (folder / "manifest.json").write_text(to_json(Manifest(files=files, **(defaults | changes))))
    return folder


@pytest.fixture
def packed(root):
    return put_packed(root)


def test_packed_files_are_verified_by_their_manifest_once(root, packed, reads):
    assert datasets.problem_of(PHOTOS, root) is None
    assert reads == ["manifest.json", *PIXELS]
    datasets._read_digest.cache_clear()
    assert datasets.problem_of(PHOTOS, root) is None
    assert len(reads) == 4
    (packed / "test.images.u8").write_bytes(b"x" * 192)
    assert "test.images.u8 is damaged (sha256 " in datasets.problem_of(PHOTOS, root)
    (packed / "test.images.u8").unlink()
    assert datasets.problem_of(PHOTOS, root).endswith("test.images.u8 is missing")


def test_counts_that_are_not_the_yamls_are_said_with_the_folder(root):
    put_packed(root, train_images=5)
    message = datasets.problem_of(PHOTOS, root)
    assert "train_images 5, the YAML says 4" in message
    assert str(root / "photos-packed-8") in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "manifest.json: not valid JSON"),
        (b"\xff", "manifest.json: "),
        (b"{}", "files is missing"),
        (b'{"train_images": 0}', "train_images=0 – must be at least 1"),
    ],
)
def test_a_damaged_manifest_is_a_sentence(root, packed, text, message):
    (packed / "manifest.json").write_bytes(text)
    assert message in datasets.problem_of(PHOTOS, root)


def test_images_that_are_not_packed_are_a_sentence_with_the_command(root):
    with pytest.raises(UserError, match=r"the images are not packed; pack its images: .* data prepare photos --root "):
        datasets.require(PHOTOS, root)


def test_the_packed_form_is_copied_to_the_node_whole(root, packed, scratch, reads, capsys):
    folder = staging.staged(PHOTOS, root, scratch)
    assert folder.is_relative_to(scratch)
    assert datasets.problem_of(PHOTOS, folder) is None
    assert reads == [], "checksums are computed while copying"
    assert datasets.manifest_of(PHOTOS, folder) == datasets.manifest_of(PHOTOS, root)
    copied = {name: (folder / "photos-packed-8" / name).read_bytes() for name in PIXELS}
    assert copied == PIXELS
    assert capsys.readouterr().err == ""


def test_images_packed_anew_are_copied_anew(root, packed, scratch):
    first = staging.staged(PHOTOS, root, scratch)
    put_packed(root, classes=("cat", "goat"))
    assert staging.staged(PHOTOS, root, scratch) != first


def test_what_is_not_packed_is_not_copied_and_that_is_told(root, scratch, capsys):
    assert staging.staged(PHOTOS, root, scratch) == root
    assert "the images are not packed" in capsys.readouterr().err


# -- the verbs ---------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VIT_SWEEP_CONF", raising=False)
    monkeypatch.delenv("VIT_SWEEP_DATA", raising=False)

    def command(*words):
        return CliRunner().invoke(data_cli.app, list(map(str, words)))

    return command


def site(folder, name, contents=CONTENTS):
    from launchers.checked import to_json

    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / f"{name}.yaml").write_text(to_json(spec_of(contents, name)))  # JSON is YAML
    return folder


def line_of(answer, name):
    """A data set's row, with the note below the table that stands for its state where a path is long."""
    lines = answer.stdout.splitlines()
    row = next(line for line in lines if line.split()[:1] == [name])
    notes = [word for word in row.split() if re.fullmatch(r"\d+\)", word)]
    return " ".join([row, *(line for line in lines if line.split()[:1] == notes[:1] and notes)])


def test_the_list_says_what_is_ready_and_what_is_not(run, root, tmp_path, monkeypatch):
    conf = site(tmp_path / "conf", "tiny")
    completed = run("list", "--root", root, "--config-dir", conf)
    assert completed.exit_code == 0, completed.output
    assert "ready: needs no files" in line_of(completed, "digits")
    assert "50,000" in line_of(completed, "cifar100")
    assert "100 classes" in line_of(completed, "cifar100")
    assert "yours: add data.path=DIR" in line_of(completed, "webdataset")
    assert "not here: data prepare cifar100" in line_of(completed, "cifar100")
    assert "ready" in line_of(completed, "tiny").split()
    (root / "set/meta").write_bytes(b"x")
    assert "damaged" in run("list", "--root", root, "--config-dir", conf).stdout


def test_the_list_says_whether_images_are_packed(run, root):
    assert "not here: data prepare imagenet100" in line_of(run("list", "--root", root), "imagenet100")
    for split in ("train", "val"):
        (root / "imagenet100" / split).mkdir(parents=True)
    assert "not packed: data prepare imagenet100" in line_of(run("list", "--root", root), "imagenet100")


def test_a_packed_set_is_ready_and_its_yaml_may_say_how_it_is_read(run, root, packed, tmp_path):
    from launchers.checked import to_json

    (tmp_path / "conf/data").mkdir(parents=True)
    text = to_json(PHOTOS).replace("{", '{"pipeline": "loader", ', 1)
    (tmp_path / "conf/data/photos.yaml").write_text(text)
    words = ("--root", root, "--config-dir", tmp_path / "conf")
    assert "ready" in line_of(run("list", *words), "photos").split()
    assert "photos is ready in" in run("prepare", "photos", *words).stdout


def test_a_sites_own_data_sets_are_found_as_a_sweep_finds_them(run, root, tmp_path, monkeypatch):
    site(tmp_path / "site", "ours")
    site(tmp_path / "site", "cifar100")  # shipped ones win, as in a sweep
    (tmp_path / "site/data/ours_too.yaml").write_text("defaults: [ours]\nname: ours_too\n")
    monkeypatch.setenv("VIT_SWEEP_CONF", str(tmp_path / "site"))
    monkeypatch.setenv("VIT_SWEEP_DATA", str(root))
    for name in ("ours", "ours_too"):
        completed = run("prepare", name)
        assert completed.exit_code == 0, completed.exception
        assert f"{name} is ready in {root}: 3 files" in completed.stdout
    assert "not here" in line_of(run("list"), "cifar100")


def test_shipped_data_that_needs_no_files_is_ready_anywhere(run):
    assert "digits is ready: it needs no files" in run("prepare", "digits").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "cifra100"], "data=cifra100: there is no such data set, file or folder – did you mean cifar100?"),
        (["prepare", "digits", "--config-dir", "nowhere"], "--config-dir=nowhere: there is no such folder"),
        (["prepare", "broken", "--config-dir", "conf"], "unknown key sorce – did you mean source?"),
    ],
)
def test_a_mistake_is_told_in_words(run, tmp_path, words, message):
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/broken.yaml").write_text("name: broken\nsorce: digits\n")
    completed = run(*words)
    assert isinstance(completed.exception, UserError)
    assert message in str(completed.exception)


def test_a_broken_file_does_not_hide_the_others_in_the_list(run, tmp_path):
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/broken.yaml").write_text("a: [\n")
    completed = run("list", "--config-dir", "conf")
    assert completed.exit_code == 0
    assert "wrong: " in line_of(completed, "broken")
    assert "ready" in line_of(completed, "digits")


def test_a_data_set_that_builds_on_another_needs_nothing_of_the_sites_default_partition(run, tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_SWEEP_PARTITION", "elsewhere")
    (tmp_path / "own/data").mkdir(parents=True)
    (tmp_path / "own/data/mine.yaml").write_text("defaults: [digits]\nname: mine\n")
    completed = run("prepare", "mine", "--config-dir", tmp_path / "own")
    assert completed.exit_code == 0, completed.exception
    assert "mine is ready: it needs no files" in completed.output


def test_a_copy_by_another_process_is_waited_for_while_it_grows_and_said(tmp_path, monkeypatch):
    """The other one is this test: it holds the lock, adds a byte each time that it is waited for, and then no more."""
    monkeypatch.setattr(staging, "_LOOK_S", 0.0)
    monkeypatch.setattr(staging, "_COPY_WAIT_S", 10.0)
    clock = itertools.count(step=9.0)
    monkeypatch.setattr(staging, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    sentences = []

    def tell(sentence):
        sentences.append(sentence)
        if len(sentences) < 50:
            (tmp_path / "part").write_bytes(b"x" * len(sentences))

    with FileLock(tmp_path / ".lock"), pytest.raises(Timeout), staging._alone(tmp_path, "photos", tell):
        pass
    assert set(sentences) == {"waiting for another process of this node to copy photos"}
    assert len(sentences) > 50
