"""A partition profile says what is possible; a contradiction or a typing error is one sentence."""

import re

import pytest

from launchers.checked import parse, to_plain
from launchers.errors import UserError
from launchers.profile import PartitionProfile
from tests.unit.builders import profile


def read(**changes):
    """Read a profile as from YAML."""
    return parse(PartitionProfile, to_plain(profile()) | changes, source="partition lab")


def test_a_profile_survives_the_way_through_plain_data():
    assert read() == profile()


def test_a_misspelt_key_shows_the_right_one():
    with pytest.raises(UserError, match=r"partition lab: unknown key gpus_per_nod – did you mean gpus_per_node\?"):
        read(gpus_per_nod=4)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"mem_gib": 8, "mem_per_gpu_gib": 2}, "mem_gib and mem_per_gpu_gib"),
        ({"mem_gib": 8, "mem_per_cpu_gib": 2}, "mem_gib and mem_per_cpu_gib"),
        ({"mem_per_cpu_gib": 8, "mem_per_gpu_gib": 2}, "mem_per_cpu_gib and mem_per_gpu_gib"),
    ],
)
def test_two_memory_policies_are_refused_by_name(keys, named):
    with pytest.raises(UserError, match=f"partition lab: {named} contradict each other – keep one"):
        read(**keys)


COUNTS = ["nodes", "gpus_per_node", "cpus_per_gpu", "default_minutes", "max_minutes", "max_array_size"]


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_below_one_is_refused_with_its_value(key, value):
    with pytest.raises(UserError, match=f"{key}={value} – must be at least 1"):
        read(**{key: value})


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", ["four", "4", 1.5, True])
def test_a_limit_that_is_no_whole_number_is_refused(key, value):
    with pytest.raises(UserError, match=re.escape(f"{key}={value} – must be a whole number")):
        read(**{key: value})


@pytest.mark.parametrize("value", [0, -16])
def test_gpu_memory_is_more_than_nothing(value):
    with pytest.raises(UserError, match=f"gpu_memory_gib={value} – must be above 0"):
        read(gpu_memory_gib=value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mem_gib": -1}, "mem_gib=-1 – must be at least 0"),
        ({"mem_per_gpu_gib": 0}, "mem_per_gpu_gib=0 – must be above 0"),
        ({"gpu_type": 1080}, "gpu_type=1080 – must be text; write it in quotes"),
        ({"gpu_type": "a100_1g.5gb"}, r"gpu_type=a100_1g.5gb is a slice .* set allowed_gpus: \[1\]"),
        ({"gpu_type": "3g20gb"}, "gpu_type=3g20gb is a slice"),
        ({"gpu_type": "a100-mig"}, "gpu_type=a100-mig is a slice"),
        ({"gpu_dialect": "gress"}, "gpu_dialect=gress is not one of 'gres', 'gres_typed', 'gpus_per_node', "),
        ({"gpu_dialect": "gres_typed"}, "partition lab: gpu_dialect=gres_typed needs gpu_type"),
        ({"gpu_dialect": "none"}, "gpu_dialect=none needs exclusive: true"),
        ({"gres": ["shard:4"]}, "gres=shard:4 – one resource beside the GPUs"),
        ({"gres": ["gpu:a100:4"]}, "gres=gpu:a100:4 – one resource beside the GPUs"),
        ({"gres": ["nvme:1,bb:2"]}, "gres=nvme:1,bb:2 – one resource beside the GPUs"),
    ],
)
def test_a_dialect_that_cannot_be_is_refused_in_one_sentence(keys, words):
    with pytest.raises(UserError, match=words):
        read(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"environment": {"A": "b\nexport C"}},
        {"hosts": [{"name": "a\nb"}], "scheduler": "hostfile", "nodes": 1, "gpus_per_node": 1},
        {"container": {"runtime": "pyxis", "image": "x\x1b[2J"}},
        {"srun_args": ["--x\u2028"]},
        {"setup": ["echo \x00"]},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_no_text_of_a_profile_ends_its_line(keys):
    with pytest.raises(UserError, match="a line break or another control character"):
        read(**keys)


def test_whole_nodes_of_slurm_are_held_with_all_their_gpus_and_others_are_not():
    assert read(exclusive=True).held_gpus(nodes=2, gpus=2) == 16
    assert read().held_gpus(nodes=2, gpus=2) == 2
    assert read(exclusive=True, scheduler="local").held_gpus(nodes=1, gpus=2) == 2


def test_the_largest_job_has_what_nodes_counts_and_on_a_cpu_the_cores_allow():
    assert read(nodes=4).most_gpus(cores=2) == 32, "a GPU is no core"
    assert read(nodes=4, allowed_gpus=[1, 2, 8]).most_gpus() == 8
    read_profile = read(nodes=1, scheduler="local", device="cpu", cpus_per_gpu=2)
    assert [read_profile.most_gpus(cores) for cores in (None, 32, 5, 1)] == [8, 8, 2, 1]


def test_a_missing_key_is_named():
    plain = to_plain(profile())
    del plain["gpu_model"]
    with pytest.raises(UserError, match="partition lab: gpu_model is missing"):
        parse(PartitionProfile, plain, source="partition lab")


def test_every_mistake_of_a_profile_is_said_at_once():
    with pytest.raises(UserError, match=r"nodes=0 .*; gpus_per_node=-1 .*; unknown key foo"):
        read(nodes=0, gpus_per_node=-1, foo=1)


def test_the_default_time_is_not_above_the_longest():
    with pytest.raises(UserError, match="default_minutes=61 is above max_minutes=60"):
        read(default_minutes=61, max_minutes=60)
    assert read(default_minutes=60, max_minutes=60).default_minutes == 60


def test_a_profile_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        profile().nodes = 2
