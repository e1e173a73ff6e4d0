"""A profile's values in words that leave no doubt are read as they are meant; those with two meanings are refused."""

import pytest
from omegaconf import OmegaConf

from launchers.checked import parse
from launchers.errors import UserError
from launchers.profile import PartitionProfile
from tests.unit.cli.setup.test_profiles import LAB
from vit_sweep.__main__ import main
from vit_sweep.config.profile import files as profiles
from vit_sweep.config.profile.words import normalised


@pytest.fixture
def folder(tmp_path):
    """A folder of the shape of conf/."""
    (tmp_path / "conf" / "partition").mkdir(parents=True)
    return tmp_path / "conf"


def lab(folder, text):
    (folder / "partition" / "lab.yaml").write_text(f"{LAB}{text}\n")
    entries = profiles.catalog(folder, environ={})
    return profiles.load(profiles.of_name(entries, "lab")[0], entries)[0]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("max_minutes: 24:00:00", "max_minutes", 1440),
        ("max_minutes: 1-12:00:00", "max_minutes", 2160),
        ("max_minutes: 2-00", "max_minutes", 2880),
        ("max_minutes: '2880'", "max_minutes", 2880),
        ("cpus_per_gpu: '12'", "cpus_per_gpu", 12),
        ("cpus_per_gpu: 010", "cpus_per_gpu", 10),
        ("gpu_memory_gib: '15'", "gpu_memory_gib", 15.0),
        ("account: 00123", "account", "00123"),
        ("account: 1234", "account", "1234"),
        ("requeue: 'no'", "requeue", False),
        ("setup: module load cuda", "setup", ("module load cuda",)),
        ("allowed_gpus: 4", "allowed_gpus", (4,)),
        ("allowed_gpus: 1,2,4", "allowed_gpus", (1, 2, 4)),
        ("environment: {OMP_NUM_THREADS: 4}", "environment", {"OMP_NUM_THREADS": "4"}),
    ],
)
def test_a_value_that_leaves_no_doubt_is_read_as_it_is_meant(folder, text, key, value):
    assert getattr(lab(folder, text), key) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_minutes: 24:00", "max_minutes=24:00 – to Slurm these are 24 minutes, .*; write 24 or 1440"),
        ("max_minutes: 24h", "max_minutes=24h – must be minutes"),
        ("account: no", "account=False – must be text; write it in quotes, or YAML reads no"),
        ("environment: {DEBUG: yes}", "environment.DEBUG=True – must be text"),
        ("network: {gb_per_s: 12}", "network has gb_per_s without a place .*inside: {gb_per_s: 12}"),
        ("network: 12", "network has gb_per_s without a place"),
        ("network: {inside: 12}", "network.inside=12 – must be keys with values: gb_per_s, latency_us, ports"),
        ("constraint: [a100, ib]", "constraint=.* – must be text"),
        ("defaults: [vector_t4v3]", r"partition lab: it builds on vector_t4v3 \(defaults:\), which is not there – did"),
        ("defaults: vector_t4v2", r"partition/lab: what it builds on is a list: write defaults: \[NAME\]"),
        ("defaults: [lab]", "builds on it in turn"),
    ],
)
def test_a_value_with_two_meanings_is_refused_in_words_of_its_key(folder, text, said):
    with pytest.raises(UserError, match=said):
        lab(folder, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("account: no", "account=False"),
        ("network: 12", "without a place"),
        ("defaults: [gone]", "builds on gone"),
        ("defaults: gone", "is a list"),
        ("a: b: c", "lab.yaml"),
        (b"# f\xfcr alle", "is not UTF-8"),
    ],
)
def test_a_sweep_says_the_same_in_one_sentence(folder, capsys, text, said):
    line = text if isinstance(text, bytes) else text.encode()
    (folder / "partition" / "lab.yaml").write_bytes(LAB.encode() + line + b"\n")
    assert main([f"--config-dir={folder}", "partition=lab", "dry_run=true"]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors


def test_a_sweep_reads_a_time_as_the_profile_means_it(folder, tmp_path, monkeypatch, capsys):
    (folder / "partition" / "lab.yaml").write_text(f"{LAB}default_minutes: 02:30:00\n")
    monkeypatch.chdir(tmp_path)
    assert main([f"--config-dir={folder}", "partition=lab", "study=s", "dry_run=true"]) == 0
    (script,) = (tmp_path / "outputs" / "s").glob("jobs/*/job.sbatch")
    assert "#SBATCH --time=150\n" in script.read_text()


def test_what_a_profile_says_in_its_own_types_stays_as_it_is():
    plain = {
        "name": "lab",
        "scheduler": "slurm",
        "nodes": 4,
        "gpus_per_node": 8,
        "gpu_model": "T4",
        "setup": ["a", "b"],
    }
    assert parse(PartitionProfile, normalised(plain), source="lab") == parse(PartitionProfile, plain, source="lab")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("1_000", 1000),
        ("0x10", 16),
        ("-3", -3),
        ("0", 0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
    ],
)
def test_whole_numbers_of_a_file_are_digits_alone(text, value):
    assert OmegaConf.create(f"a: {text}").a == value


@pytest.mark.parametrize(
    ("written", "asked"),
    [("gpu", "gpu"), ("gpu, gpu_long", "gpu,gpu_long"), (["gpu", "long"], "gpu,long"), (" a,,b,a ", "a,b"), ("", None)],
)
def test_slurms_partitions_are_a_list_as_sbatch_takes_it_each_once(written, asked):
    assert normalised({"name": "lab", "partition": written})["partition"] == asked
