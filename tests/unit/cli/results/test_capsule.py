"""A study as a capsule: what is in it and what is not, the same bytes twice, and each change found."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from launchers.batch import Batch
from launchers.checked import to_json
from launchers.errors import UserError
from tests.unit.builders import batch, planned_study, point, profile, record
from vit_sweep.__main__ import main
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.record.machine import Fingerprint
from vit_sweep.report import figures
from vit_sweep.report.capsule.cleaning import Cleaner
from vit_sweep.study.code import snapshot
from vit_sweep.study.code.snapshot import digest_of, take

pytestmark = pytest.mark.filterwarnings("ignore")
HOST, SECRET, HOME = "node-of-eve", "s3cr3t-value", "/home/eve.adams"
WORDS = ("--license", "CC-BY-4.0", "--author", "Ada Lovelace <0000-0002-1825-0097>", "--author", "Babbage, Charles")
VALIDATOR = Path(sys.prefix) / "validator/bin/python"
OFFLINE = """
import json, sys, requests, requests_cache, urllib.request
context = open(sys.argv[1], "rb").read()
def answered(self, method, url, **_):
    assert "ro/crate" in url, url
    answer = requests.Response()
    answer.status_code, answer._content, answer.url = 200, context, url
    answer.headers["Content-Type"] = "application/ld+json"
    return answer
def opened(request, *_, **__):
    import io
    from email.message import Message
    from urllib.response import addinfourl
    head = Message()
    head["Content-Type"] = "application/ld+json"
    return addinfourl(io.BytesIO(context), head, getattr(request, "full_url", request), 200)
requests.Session.request = requests_cache.CachedSession.request = answered
import rdflib._networking
urllib.request.urlopen = rdflib._networking.urlopen = opened
from rocrate_validator import models, services
result = services.validate(models.ValidationSettings(
    rocrate_uri=sys.argv[2], profile_identifier="ro-crate-1.1", requirement_severity=models.Severity.REQUIRED))
print(json.dumps([f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()]))
"""
"""The validator asks the network for RO-Crate's context alone; here it gets the one that rocrate carries."""


def write_study(folder, seeds=(0, 1)):
    """A study of 1 and 2 GPUs, twice each, whose texts tell places, a host and a secret."""
    eve = profile(python=f"{HOME}/venv/bin/python", environment={"API_TOKEN": SECRET})
    points = [point(gpus=n, seed=seed, partition=eve) for n in (1, 2) for seed in seeds]
    study, plan = planned_study(folder, *points)
    for cell_id, planned in plan.cells.items():
        cell = planned.cell
        seconds = 4.0 / cell.gpus * (1 + 0.01 * cell.seed)
        made = record(
            cell,
            epoch_seconds=(2 * seconds, seconds, seconds),
            versions={"python": "3.11.7", "torch": "2.11.0", "deepspeed": "0.19.8"},
            machine=tuple(Fingerprint(rank=rank, host=HOST, cpu="AMD EPYC") for rank in range(cell.gpus)),
        )
        made = replace(made, resolved=replace(made.resolved, hosts=(HOST,)))
        (study.cell_dir(cell_id) / "record.json").write_text(to_json(made))
        attempt = study.cell_dir(cell_id) / "attempts/1"
        attempt.mkdir()
        ended = Exit(cause=Cause.DONE, message=f"{HOST} wrote {HOME}/notes and {folder}/cells", host=HOST)
        (attempt / "exit.json").write_text(to_json(ended))
        (attempt / "rank0.log").write_text(f"{HOME} {SECRET}")
    jobs: Batch = batch(
        study=folder.name,
        study_dir=str(folder),
        profile=eve,
        tasks=(),
        code=f"{folder}/.code/x",
        environment={"PYTHONPATH": f"{folder}/.code/x"},
    )
    there = folder / "jobs" / jobs.name
    there.mkdir()
    (there / "batch.json").write_text(to_json(jobs))
    (there / "job.sbatch").write_text(
        f"#SBATCH --output={folder}/jobs/a/logs/%A\nexport API_TOKEN={SECRET}\n{HOME}/venv/bin/python -m x\n"
    )
    take(folder)


@pytest.fixture(scope="module", autouse=True)
def _little_code():
    """Snapshots of two files: hundreds are copied, packed and hashed at every turn, and it does not matter which."""
    with pytest.MonkeyPatch.context() as patch:
        code = {f"{name}/__init__.py": f'"""{name}"""\n'.encode() for name in ("vit_sweep", "launchers")}
        patch.setattr(snapshot, "_running", lambda: dict(code))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the study and its capsule, which nobody changes."""
    folder = tmp_path_factory.mktemp("desk")
    write_study(folder / "outputs/mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VIT_SWEEP_FIGURES", "svg")
        patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
        assert main(["capsule", "mine", *WORDS, "--out", "mine.zip"]) == 0
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """No figures: most of a capsule's time goes into them, and what is tested here is beside them."""
    monkeypatch.setattr(figures, "draw_all", lambda *_, **__: [])


@pytest.fixture
def desk(made, tmp_path, monkeypatch):
    """A copy that a test may change."""
    shutil.copytree(made, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "svg")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    return tmp_path / "desk"


def unpacked(desk):
    with zipfile.ZipFile("mine.zip") as packed:
        packed.extractall("theirs")
    return desk / "theirs"


def repacked(changes=None, *, added=(), without=()):
    """The capsule again, as `broken.zip`: contents by name, entries that are added, names that are left out."""
    with zipfile.ZipFile("mine.zip") as old, zipfile.ZipFile("broken.zip", "w") as new:
        for entry in old.infolist():
            if entry.filename not in without:
                new.writestr(entry, (changes or {}).get(entry.filename, old.read(entry)))
        for entry, content in added:
            new.writestr(entry, content)
    return "broken.zip"


def texts(folder):
    """Everything in a capsule that is text and not our own code."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".code" not in path.parts and path.suffix not in (".parquet", ".png"):
            yield path.relative_to(folder).as_posix(), path.read_text()


def test_a_capsule_has_what_the_study_says_and_is_a_study_again(desk, capsys):
    folder = unpacked(desk)
    inner = folder / "outputs/mine"
    (code,) = (inner / ".code").iterdir()
    contents = {p.relative_to(code).as_posix(): p.read_bytes() for p in code.rglob("*") if p.is_file()}
    assert digest_of(contents) == code.name
    badges = (folder / "BADGES.md").read_text()
    assert "- [x] **Complete**: all 4 runs have finished; the code that ran is in it" in badges
    assert "- [ ] **Artifacts available**" in badges and "- [ ] **Results reproduced**" in badges
    assert (inner / "tables/runs.csv").read_text().count("\n") == 5
    assert (inner / "report.html").is_file() and (inner / "figures/strong_speedup.svg").is_file()
    assert json.loads((inner / "extra-p.json").read_text())["measurements"]
    assert len(list((inner / "mlperf").glob("*.log"))) == 4
    assert "torch==2.11.0" in (folder / "environment.txt").read_text()
    assert [kind["cpu"] for kind in json.loads((folder / "hardware.json").read_text())["machines"]] == ["AMD EPYC"]
    citation = (folder / "CITATION.cff").read_text()
    assert "family-names: Lovelace\n  given-names: Ada\n  orcid: https://orcid.org/0000-0002-1825-0097" in citation
    assert "family-names: Babbage\n  given-names: Charles" in citation and "license: CC-BY-4.0" in citation
    os.chdir(folder)
    capsys.readouterr()
    assert main(["status", "mine"]) == 0
    assert main(["gate", "mine", "--against", "baseline.json"]) == 0
    assert "fine" in capsys.readouterr().out


def test_it_is_whole_by_check_and_by_sha256sum(desk, capsys):
    assert main(["check", "mine.zip"]) == 0
    assert main(["check", str(unpacked(desk))]) == 0
    assert capsys.readouterr().out.count("all as manifest-sha256.txt says") == 2
    answer = subprocess.run(["sha256sum", "--quiet", "-c", "manifest-sha256.txt"], cwd="theirs", capture_output=True)
    assert (answer.returncode, answer.stdout) == (0, b"")


def test_it_names_no_place_and_no_secret_and_hosts_only_as_the_study_does(desk, made):
    told = dict(texts(unpacked(desk)))
    for word in (str(made), HOME, "eve.adams", SECRET):
        assert [name for name, text in told.items() if word in text] == []
    assert any(HOST in text for text in told.values())
    (script,) = (text for name, text in told.items() if name.endswith("job.sbatch"))
    assert "--output=outputs/mine/jobs/a/logs/%A\nexport API_TOKEN=***\n.../python -m x" in script
    assert main(["capsule", "mine", *WORDS, "--out", "nowhere", "--without-hosts"]) == 0
    told = dict(texts(Path("nowhere")))
    assert [name for name, text in told.items() if HOST in text] == []
    assert "host1 wrote .../notes and outputs/mine/cells" in "".join(told.values())


def test_a_path_with_blanks_loses_all_of_its_folders():
    cleaner = Cleaner({"/home/Eve Adams/outputs/mine": "outputs/mine"})
    value = {
        "data_root": "/home/Eve Adams/my data",
        "study_dir": "/home/Eve Adams/outputs/mine",
        "python": "/usr/bin/py",
    }
    told = json.loads(cleaner.file("batch.json", json.dumps(value).encode()))
    assert told == {"data_root": ".../my data", "study_dir": "outputs/mine", "python": "/usr/bin/py"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wrote /home/Eve Adams/notes/a.txt and left", "wrote .../a.txt and left"),
        ("[Errno 13] Permission denied: '/srv/of Bob/x y/z'", "[Errno 13] Permission denied: '.../z'"),
        ("/home/Eve Adams/my data is missing", ".../my data is missing"),
        ("/home/Eve Adams/outputs/mine/cells", "outputs/mine/cells"),
        ("data_root=/home/Eve Adams/my data/x", "data_root=.../x"),
        ("bash -c '/opt/eve/py -m x /opt/eve/y'", "bash -c '.../py -m x .../y'"),
        ("/home/Evelyn/a", ".../a"),
    ],
)
def test_a_path_with_blanks_inside_a_sentence_tells_none_of_its_folders(text, told):
    cleaner = Cleaner({"/home/Eve Adams/outputs/mine": "outputs/mine"}, folders=["/home/Eve Adams/my data"])
    assert cleaner.text(text) == told


@pytest.mark.usefixtures("undrawn")
def test_words_of_a_command_and_the_messages_of_its_jobs_tell_no_folder_with_blanks(desk):
    study = Path("outputs/mine/study.json")
    told = json.loads(study.read_text()) if study.is_file() else {"schema_version": 1, "name": "mine", "commands": []}
    told["commands"].append({"arguments": ["-m", "data_root=/srv/of Bob/sets"], "overrides": [], "at": ""})
    study.write_text(json.dumps(told))
    for path in Path("outputs/mine").glob("cells/*/attempts/1/exit.json"):
        ended = json.loads(path.read_text())
        path.write_text(json.dumps(ended | {"message": "read /srv/of Bob/sets/a.bin and /srv/of Bob/b"}))
    assert main(["capsule", "mine", *WORDS, "--out", "spaced"]) == 0
    assert [name for name, text in texts(Path("spaced")) if "of Bob" in text] == []
    assert "read .../a.bin and .../b" in "".join(text for _, text in texts(Path("spaced")))


def test_the_same_study_gives_the_same_bytes_wherever_it_lies_and_another_day_changes_the_date(desk, monkeypatch):
    assert main(["capsule", "outputs/mine", *WORDS, "--out", "again.zip"]) == 0
    assert Path("again.zip").read_bytes() == Path("mine.zip").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767312000")
    assert main(["capsule", "mine", *WORDS, "--out", "later.zip"]) == 0
    with zipfile.ZipFile("mine.zip") as one, zipfile.ZipFile("later.zip") as other:
        assert one.namelist() == other.namelist()
        differing = {name for name in one.namelist() if one.read(name) != other.read(name)}
    assert differing == {"CITATION.cff", "ro-crate-metadata.json", "manifest-sha256.txt"}


RECORD = "outputs/mine/plan.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"changes": {RECORD: b"{}"}}, f"wrong: {RECORD} has changed: its sha256 is 44136fa355b3... and not "),
        ({"without": {RECORD}}, f"wrong: {RECORD} is missing"),
        (
            {"added": [("outputs/mine/torch.py", "")]},
            "wrong: outputs/mine/torch.py was added: ",
        ),
    ],
    ids=["changed", "missing", "added"],
)
def test_what_was_changed_taken_or_added_is_named(change, said, desk, capsys):
    assert main(["check", repacked(**change)]) == 1
    out = capsys.readouterr().out
    assert said in out and "1 thing wrong" in out


def test_one_byte_of_a_folder_is_found_and_a_link_in_it_refused(desk, capsys):
    folder = unpacked(desk)
    content = bytearray((folder / RECORD).read_bytes())
    content[100] ^= 1
    (folder / RECORD).write_bytes(content)
    assert main(["check", "theirs"]) == 1
    assert f"{RECORD} has changed" in capsys.readouterr().out
    (folder / RECORD).unlink()
    (folder / RECORD).symlink_to(desk / "outputs/mine/plan.json")
    assert main(["check", "theirs"]) == 2
    assert "is a symbolic link, and a capsule has none" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../b", "C:/out.txt", "a\\b", "link", "README.md"])
def test_a_zip_with_a_name_that_leads_out_is_refused(name, desk, capsys):
    entry = zipfile.ZipInfo(name)
    if name == "link":
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        broken = repacked(added=[(entry, "/etc/passwd")])
    assert main(["check", broken]) == 2
    assert "is refused: its entry" in capsys.readouterr().err


def test_a_damaged_zip_is_a_sentence(desk, capsys):
    content = Path("mine.zip").read_bytes()
    Path("cut.zip").write_bytes(content[: len(content) // 2])
    assert main(["check", "cut.zip"]) == 2
    assert "is not a capsule (neither a folder nor a whole .zip file" in capsys.readouterr().err
    middle = bytearray(content)
    middle[len(content) // 2] ^= 0xFF
    Path("bit.zip").write_bytes(middle)
    assert main(["check", "bit.zip"]) == 1
    assert re.search(r"cannot be unpacked \(.{12,}\)$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", *WORDS], "nowhere is not a study (no study.json in it)"),
        (["mine", *WORDS[2:]], "license=: what may others do with the results?"),
        (["mine", "--license", "my own!"], "license=my own!: what may others do with the results?"),
        (["mine", "--license", "MIT", "--author", " "], "author=' ': a name, perhaps with an ORCID"),
        (["mine", "--license", "MIT"], "author=: who is to be cited? git knows no user.name here"),
        (["mine", *WORDS, "--out", "mine.zip"], "out=mine.zip: that is there already; name another place with --out"),
        (["mine", *WORDS, "--out", "mine.tar.gz"], "a capsule is a .zip file or a folder; write mine.zip"),
        (["mine", *WORDS, "--out", "mine.zip/a.zip"], "mine.zip: no folder can be made"),
        (["mine", *WORDS, "--out", "outputs/mine/a.zip"], "that lies in the study, which the capsule copies"),
    ],
)
def test_mistakes_are_told_in_a_sentence_and_write_nothing(words, said, desk, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(desk))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(desk.parent))
    before = sorted(desk.rglob("*"))
    assert main(["capsule", *words]) == 2
    assert said in capsys.readouterr().err
    assert sorted(desk.rglob("*")) == before


def test_a_missing_package_is_told_with_the_extra_to_install(desk, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "rocrate" else object())
    assert main(["capsule", "mine", *WORDS, "--out", "x.zip"]) == 2
    assert "rocrate not installed here: pip install 'vit_sweep[capsule]'" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_the_command_that_proves_it_whole_can_be_typed_as_it_is_printed(desk, capsys):
    assert main(["capsule", "mine", *WORDS, "--out", "my own.zip"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "whether it is whole" in line]
    assert main(shlex.split(line.partition("vit_sweep ")[2])) == 0


def test_what_is_no_capsule_is_told(desk, capsys):
    Path("empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    assert main(["check", "empty.zip"]) == 2
    assert "is not a capsule (no manifest-sha256.txt in it)" in capsys.readouterr().err
    folder = unpacked(desk)
    (folder / "manifest-sha256.txt").write_text("nonsense\n")
    assert main(["check", "theirs"]) == 2
    assert "manifest-sha256.txt line 1 is no checksum" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_an_unfinished_study_is_told_and_packed_if_one_wants(desk, capsys):
    gone = next(Path("outputs/mine/cells").glob("n1-g2-*"))
    shutil.rmtree(gone / "attempts")
    (gone / "record.json").unlink()
    assert main(["capsule", "mine", *WORDS, "--out", "half.zip"]) == 2
    assert f"study mine: 1 cell has not ended: {gone.name}; " in capsys.readouterr().err
    assert main(["capsule", "mine", *WORDS, "--out", "half.zip", "--unfinished"]) == 0
    assert f"note: 1 cell has not ended: {gone.name}" in capsys.readouterr().out
    with zipfile.ZipFile("half.zip") as packed:
        assert f"- 1 cell has not ended: {gone.name}" in packed.read("README.md").decode()


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_read_through_a_link_and_strangers_stay_outside(desk, capsys):
    outside = desk / "outside.json"
    cell = next(Path("outputs/mine/cells").glob("n1-g2-*")).absolute()
    (cell / "ds_config.json").unlink(missing_ok=True)
    outside.write_text('{"what": "is elsewhere"}')
    (cell / "ds_config.json").symlink_to(outside)
    (Path("outputs/mine/stops")).symlink_to(desk)
    (Path("outputs/mine/diary.txt")).write_text("mine alone")
    assert main(["capsule", "mine", *WORDS, "--out", "linked"]) == 0
    assert f"cells/{cell.name}/ds_config.json, stops: left out, nothing is read through" in capsys.readouterr().out
    assert "is elsewhere" not in "".join(text for _, text in texts(Path("linked")))
    assert not Path("linked/outputs/mine/diary.txt").exists() and not list(desk.glob(".*.tmp"))


@pytest.mark.usefixtures("undrawn")
def test_damaged_and_absent_code_are_noted(desk, capsys):
    (code,) = Path("outputs/mine/.code").iterdir()
    file = code / "vit_sweep/__init__.py"
    file.chmod(0o644)
    file.write_text("evil = True\n")
    assert main(["capsule", "mine", *WORDS, "--out", "a"]) == 0
    assert f"note: .code/{code.name} is not the code that its name says: its digest is " in capsys.readouterr().out
    shutil.rmtree("outputs/mine/.code")
    assert main(["capsule", "mine", *WORDS, "--out", "b"]) == 0
    assert "note: no code snapshot lies in the study" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["mine.zip", "theirs"])
def test_it_is_a_valid_ro_crate(form, desk):
    if not VALIDATOR.exists():
        pytest.skip("no roc-validator beside the environment: make env-dev")
    import rocrate

    context = Path(rocrate.__file__).parent / "data/ro-crate.jsonld"
    unpacked(desk)
    words = [VALIDATOR, "-c", OFFLINE, str(context)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(desk)}
    answer = subprocess.run([*words, form], capture_output=True, text=True, env=environment)
    assert (answer.returncode, answer.stdout) == (0, "[]\n"), answer.stderr
    if form == "mine.zip":
        return
    metadata = Path("theirs/ro-crate-metadata.json")
    metadata.write_text(metadata.read_text().replace('"datePublished"', '"dateForgotten"'))
    answer = subprocess.run([*words, "theirs"], capture_output=True, text=True, env=environment)
    assert "datePublished" in answer.stdout


def again(folder, factor=1.0, *, seeds=(0, 1), torch="2.11.0", cpu="AMD EPYC"):
    """The study once more, its epochs so many times as long."""
    write_study(folder, seeds)
    for path in folder.glob("cells/*/record.json"):
        told = json.loads(path.read_text())
        for epoch in told["epochs"]:
            epoch["seconds"] *= factor
        told["versions"]["torch"] = torch
        told["started_at"] = "2025-01-01T01:00:00Z"
        for rank in told["machine"]:
            rank["cpu"] = cpu
        path.write_text(json.dumps(told))


def judged(capsys, *words):
    code = main(["reproduce", "mine.zip", *words])
    return code, " ".join(capsys.readouterr().out.split())


def test_what_to_type_is_said_and_nothing_runs(desk, capsys):
    before = sorted(desk.rglob("*"))
    code, said = judged(capsys)
    assert code == 0 and "all as manifest-sha256.txt says" in said
    assert "vit_sweep -m gpus=1,2 study=mine-again then, of all cells or some:" in said
    assert said.endswith("reproduce mine.zip mine-again")
    assert "changed: torch: 2.11.0 published, " in said
    assert sorted(desk.rglob("*")) == before


def test_the_same_again_is_reproduced_and_a_slower_or_faster_one_differs(desk, capsys):
    again(desk / "outputs/same", 1.001)
    assert judged(capsys, "same", "--within", "0.2")[0] == 0
    again(desk / "outputs/slow", 1.6)
    code, said = judged(capsys, "slow", "--within", "0.2")
    assert code == 1 and "differs: all 2 cells: epoch time 1.600 times as long" in said
    assert "slow against mine.zip: differs; of 3 figures: 3 differs" in said
    again(desk / "outputs/fast", 0.6)
    code, said = judged(capsys, "fast", "--within", "0.2")
    assert code == 1 and "fast against mine.zip: differs; of 3 figures: 3 differs" in said


def test_too_little_to_tell_is_no_reproduction(desk, capsys):
    again(desk / "outputs/same", 1.001)
    code, said = judged(capsys, "same", "--within", "0.001")
    assert code == 4 and "same against mine.zip: cannot tell; of 3 figures: " in said


def test_a_changed_version_machine_or_seed_is_named_and_a_sample_is_enough(desk, capsys):
    again(desk / "outputs/other", torch="2.12.0", cpu="Intel Xeon")
    code, said = judged(capsys, "other")
    assert code == 4 and "changed: torch: 2.11.0 published, 2.12.0 here" in said
    assert "changed: another machine: CPU: AMD EPYC against Intel Xeon" in said
    again(desk / "outputs/sown", seeds=(0, 2))
    assert (
        "changed: gpus=1 nodes=1 batch=16 accum=1 images=1600: seeds 0, 1 published, 0, 2 here"
        in judged(capsys, "sown")[1]
    )
    for path in (desk / "outputs/other").glob("cells/n1-g2-*"):
        shutil.rmtree(path)
    assert "1 cell was not run again" in judged(capsys, "other")[1]


def test_the_published_runs_themselves_reproduce_nothing(desk, capsys):
    assert main(["reproduce", "mine.zip", "mine"]) == 2
    assert "4 runs of the study are among the published ones" in capsys.readouterr().err


def test_a_changed_capsule_is_judged_no_further(desk, capsys):
    Path("mine.zip").write_bytes(Path(repacked({RECORD: b"{}"})).read_bytes())
    code, said = judged(capsys, "mine")
    assert code == 1 and f"wrong: {RECORD} has changed" in said and "against" not in said
    assert main(["reproduce", "nowhere.zip"]) == 2
    assert "nowhere.zip: no such capsule" in capsys.readouterr().err


# --- a sample that it runs itself: everything up to the first job ----------------------------------------------------

LAB = """
name: lab
scheduler: slurm
nodes: {nodes}
gpus_per_node: {gpus}
gpu_model: {model}
"""


@pytest.fixture
def lab(desk, monkeypatch):
    """A site with a partition of the published name; call it for another one."""

    def site(nodes=4, gpus=8, model="Tesla T4"):
        place = desk / "site/partition"
        place.mkdir(parents=True, exist_ok=True)
        (place / "lab.yaml").write_text(LAB.format(nodes=nodes, gpus=gpus, model=model))

    monkeypatch.setenv("VIT_SWEEP_CONF", str(desk / "site"))
    site()
    return site


def ran(capsys, *words):
    """Exit code and what is said of a sample that is only looked at."""
    code = main(["reproduce", "mine.zip", "--run", *words, "dry_run=true"])
    told = capsys.readouterr()
    return code, " ".join((told.out + told.err).split())


def published_cells():
    with zipfile.ZipFile("mine.zip") as packed:
        return {Path(name).parent.name for name in packed.namelist() if name.endswith("/cell.json")}


def planned_cells(folder):
    return {path.parent.name for path in Path(folder).glob("cells/*/cell.json")}


def test_a_sample_is_the_published_cells_with_what_they_cost_in_a_study_of_its_own(desk, lab, capsys):
    code, said = ran(capsys)
    assert code == 0, said
    assert (
        "to run again: 2 of 4 cells, about 0.01" in said
        and "of at most 10 GPU-hours (budget_gpu_hours): n1-g1-" in said
    )
    again = planned_cells("outputs/mine-again")
    assert again < published_cells() and {name[:5] for name in again} == {"n1-g1", "n1-g2"}
    assert "changed: torch: 2.11.0 published, " in said
    assert ran(capsys, "--cells", "9", "study=whole")[0] == 0
    assert planned_cells("outputs/whole") == published_cells()
    assert ran(capsys, "other", "--sample", "0.5")[0] == 0 and planned_cells("outputs/other") == again


def test_the_same_seed_draws_the_same_cells_and_what_they_were_told_is_kept(desk, lab, capsys):
    for name, seed in (("a", 0), ("b", 0), *((f"s{n}", n) for n in range(1, 4))):
        assert ran(capsys, f"study={name}", "--cells", "1", "--seed", str(seed))[0] == 0
    drawn = [planned_cells(f"outputs/{name}") for name in ("a", "b", "s1", "s2", "s3")]
    assert drawn[0] == drawn[1] and len(set(map(frozenset, drawn))) > 1
    (one,) = drawn[0]
    with zipfile.ZipFile("mine.zip") as packed:
        told = json.loads(packed.read(f"outputs/mine/cells/{one}/cell.json"))
    here = json.loads(Path(f"outputs/a/cells/{one}/cell.json").read_text())
    assert here["cell"] == told["cell"] and here["series"] == told["series"] and here["options"] == told["options"]


def test_cells_that_cannot_run_here_are_named_with_the_reason(desk, lab, capsys):
    lab(nodes=1, gpus=1)
    code, said = ran(capsys, "--cells", "4")
    assert code == 0 and planned_cells("outputs/mine-again") == {n for n in published_cells() if n.startswith("n1-g1")}
    assert "not run here: n1-g2-" in said and "lab has 1" in said, said
    lab(model="H100")
    code, said = ran(capsys)
    assert code == 2 and "no cell of it can run again here" in said
    assert "another GPU model: Tesla T4 published, H100 here (--across machine runs it)" in said
    assert ran(capsys, "--across", "machine", "study=elsewhere")[0] == 0


def test_a_partition_of_another_name_is_taken_and_one_that_is_not_there_is_asked_for(desk, lab, capsys):
    (desk / "site/partition/ours.yaml").write_text(LAB.format(nodes=1, gpus=2, model="Tesla T4").replace("lab", "ours"))
    code, said = ran(capsys, "partition=ours")
    assert code == 0 and len(planned_cells("outputs/mine-again")) == 2, said
    (desk / "site/partition/lab.yaml").unlink()
    code, said = ran(capsys)
    assert code == 2 and "there is no partition lab here: name one of yours, partition=NAME" in said


def changed_cell(change, *, name=None):
    """The capsule with another `cell.json`, and a manifest that says so."""
    import hashlib

    with zipfile.ZipFile("mine.zip") as packed:
        path = min(n for n in packed.namelist() if n.endswith("/cell.json") and "/n1-g1-" in n)
        told = json.loads(packed.read(path))
        change(told)
        text = json.dumps(told).encode()
        manifest = packed.read("manifest-sha256.txt").decode()
        old = hashlib.sha256(packed.read(path)).hexdigest()
    manifest = manifest.replace(old, hashlib.sha256(text).hexdigest())
    Path(repacked({path: text, "manifest-sha256.txt": manifest.encode()})).replace("mine.zip")
    return Path(path).parent.name


def with_id(told):
    from launchers.checked import parse_json
    from vit_sweep.plan.cell import CellFile

    told["cell_id"] = parse_json(CellFile, json.dumps(told), source="").cell.cell_id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told: told["cell"].update(seed=77), "another version wrote it, or it was changed (a seed, a batch)"),
        (lambda told: told.update(new_key=1), "this version cannot read its cell.json: unknown key new_key"),
        (lambda told: told["cell"]["model"].update(target="os:system", arguments=[]), "it was changed"),
    ],
    ids=["a seed", "a newer version", "somebody's code"],
)
def test_a_cell_that_was_changed_with_its_checksum_is_not_run(change, says, desk, lab, capsys):
    cell = changed_cell(change)
    code, said = ran(capsys, "--cells", "9")
    assert code == 0 and f"not run here: {cell}: " in said and says in said, said
    assert cell not in planned_cells("outputs/mine-again") and len(planned_cells("outputs/mine-again")) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"target": "os:system", "counts": {"parameters": 1, "flop_per_image": 1.0}}}, "it runs os:system"),
        (
            {"model": {"init": ".../weights.safetensors", "init_content": "abc"}},
            "weights.safetensors, and no capsule has",
        ),
        ({"engine": {"config": ["tensorboard.output_path=1"]}}, "further keys (tensorboard.output_path=1)"),
        ({"engine": {"kind": "my.engine"}}, "it runs my.engine"),
        ({"model": {"target": "timm", "arguments": [["checkpoint_path", "x.bin"]]}}, "takes checkpoint_path=x.bin"),
        ({"model": {"target": "timm", "arguments": [["global_pool", "../a"]]}}, "takes global_pool=../a"),
    ],
    ids=["a model", "weights", "keys of DeepSpeed's", "an engine", "a library's file", "a path"],
)
def test_code_and_files_that_somebody_else_named_are_neither_run_nor_read(changes, says, desk):
    from launchers.checked import parse_json
    from vit_sweep.plan.cell import CellFile
    from vit_sweep.submit.reproducing import Published, Wish, rerun

    with zipfile.ZipFile("mine.zip") as packed:
        path = min(name for name in packed.namelist() if name.endswith("/cell.json"))
        told = json.loads(packed.read(path))
    for group, values in changes.items():
        told["cell"][group] |= values
    with_id(told)
    name = parse_json(CellFile, json.dumps(told), source="").cell_id
    with pytest.raises(UserError, match="no cell of it can run again here") as raised:
        rerun(Published("mine", {name: json.dumps(told).encode()}, {}), Wish(["partition=local"]))
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gpus=4"], "gpus=4: the capsule says what each cell is"),
        (["repeats=3"], "repeats=3: the capsule says what each cell is"),
        (["partition=lab,local"], "these sweep 2 combinations"),
        (["--cells", "0"], "--cells"),
        (["--sample", "0"], "sample=0: a part of the cells, above 0 and at most 1"),
        (["--sample", "1.5"], "sample=1.5: a part of the cells"),
        (["budget_gpu_hours=0.001"], "budget_gpu_hours=0.001: the cheapest cell takes about"),
        (["budget_gpu_hours=-1"], "budget_gpu_hours"),
        (["study=../out"], "study=../out"),
    ],
)
def test_mistakes_of_a_sample_are_told_and_nothing_is_planned(words, says, desk, lab, capsys):
    code, said = ran(capsys, *words)
    assert code == 2 and says in said, said
    assert not list(Path("outputs").glob("*again*"))


@pytest.mark.parametrize("name", ["../out", "${oc.env:HOME}", "a b", ""])
def test_a_study_that_is_called_like_no_folder_asks_for_a_name(name):
    from vit_sweep.submit.reproducing import Published, Wish, rerun

    with pytest.raises(UserError, match="name one: study=NAME"):
        rerun(Published(name, {}, {}), Wish())


def test_words_without_run_and_a_changed_capsule_run_nothing(desk, lab, capsys):
    assert main(["reproduce", "mine.zip", "partition=lab"]) == 2
    assert "partition=lab: words of a sweep go with --run" in capsys.readouterr().err
    Path(repacked({RECORD: b"{}"})).replace("mine.zip")
    code, said = ran(capsys)
    assert code == 1 and f"wrong: {RECORD} has changed" in said and not Path("outputs/mine-again").exists()


def test_json_and_junit_say_what_the_screen_says(desk, capsys):
    again(desk / "outputs/slow", 1.6)
    code = main(["reproduce", "mine.zip", "slow", "--within", "0.2", "--json", "--junit", "ci/a.xml"])
    told = json.loads(capsys.readouterr().out)
    assert code == 1 and told["outcome"] == "differs" and told["study"] == "slow" and told["left"] == 0
    assert [figure["outcome"] for figure in told["figures"]] == ["differs"] * 3
    suite = ElementTree.parse("ci/a.xml").getroot()
    assert suite.get("name") == "vit_sweep reproduce" and suite.get("failures") == suite.get("tests") == "3"
    assert suite[0][0][0].get("type") == "differs"


@pytest.mark.usefixtures("undrawn")
def test_from_python_it_is_the_same_object_and_the_same_sentence(desk, monkeypatch):
    import vit_sweep as vs

    made = vs.capsule("mine", "second.zip", license="MIT", authors="Ada Lovelace")
    assert made.path == Path("second.zip") and made.files > 40
    again(desk / "outputs/same", 1.001)
    said = vs.reproduce("second.zip", "same", within=0.2)
    assert said.outcome == "reproduced" and said.sentence.startswith(
        "same against second.zip: reproduced; of 3 figures"
    )
    assert "changed: " not in " ".join(said.remarks) and said.sentence in said._repr_html_()
    for wrong, says in (
        ({}, "what is the capsule held against"),
        ({"study": "same", "partition": "lab"}, "words of a sweep go with run=True"),
        ({"study": "same", "within": 0}, "within=0: a part of the time"),
        ({"run": True, "dry_run": True}, "it judges what has run"),
        ({"run": True, "cells": 0}, "cells=0: how many cells"),
    ):
        with pytest.raises(vs.UserError, match=says):
            vs.reproduce("second.zip", **wrong)
    with pytest.raises(vs.UserError, match=r"license=: what may others do"):
        vs.capsule("mine", "third.zip", license="")


def test_a_version_that_builds_another_cell_of_it_runs_none_whatever_may_differ(desk, lab, capsys, monkeypatch):
    from vit_sweep.submit import reproducing

    asked = reproducing.point_of
    monkeypatch.setattr(reproducing, "point_of", lambda *given: replace(asked(*given), epochs=4))
    code, said = ran(capsys, "--across", "machine", "--across", "epochs")
    assert code == 2 and "epochs: 3 published, 4 here" in said


def test_missing_data_and_packages_are_reasons_of_their_cells(desk, lab, capsys, monkeypatch):
    from vit_sweep.submit import reproducing

    def absent(*_):
        raise UserError("data=made_up: images.bin is missing; fetch it on a machine with internet")

    with monkeypatch.context() as patch:
        patch.setattr(reproducing.datasets, "require", absent)
        assert "data=made_up: images.bin is missing" in ran(capsys)[1]
    monkeypatch.setattr(reproducing, "require_engines", absent)
    code, said = ran(capsys)
    assert code == 2 and "no cell of it can run again here" in said and "images.bin is missing" in said


def test_more_ranks_than_cores_are_a_reason_here(desk, lab, capsys, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    code, said = ran(capsys, "partition=local", "--across", "machine")
    assert code == 0 and "oversubscribed: 2 ranks on 1 core" in said, said
