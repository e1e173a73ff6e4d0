"""Discovery reads what Slurm prints, in several of its versions, and never guesses over an unexpected answer.

`captured/22.05` is a real cluster's output; the others are cut down to what differs in their versions.
"""

import re
from pathlib import Path

import pytest

from launchers.errors import UserError
from launchers.profile import GpuDialect, Scheduler
from launchers.slurm import scontrol
from launchers.slurm.discover import Answers, drift, parsed
from tests.unit.builders import profile
from vit_sweep.config.profile.files import Entry, load, profile_files

CAPTURED = Path(__file__).parent / "captured"
VERSIONS = ("20.11", "21.08", "22.05", "23.11", "24.05", "25.05")


def answers(version, **changes):
    texts = {path.stem: path.read_text() for path in (CAPTURED / version).glob("*.txt")}
    return Answers(**(texts | changes))


def keys(version):
    """The discovered keys by (partition, GPU type)."""
    return {(group.partition, group.gpu_type): group.keys for group in parsed(answers(version)).gpu_partitions}


# --- parsing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu:t4:8", {"t4": 8}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0,1),gpu:v100:2(S:0)", {"a100": 4, "v100": 2}),
        ("gpu:8", {None: 8}),
        ("gpu:1080:4(S:0)", {"1080": 4}),
        ("gpu:2080:no_consume:2,gpu:1", {"2080": 2, None: 1}),
        ("gpu", {None: 1}),
        ("gpu:a100:no_consume:2,gpu:no_consume:1", {"a100": 2, None: 1}),
        ("gpu:a100_1g.5gb:7(S:0),shard:a100:32", {"a100_1g.5gb": 7}),
        ("gpu:(null):2(S:0-1),gpu:v100s-32:2(CNT:2)", {None: 2, "v100s-32": 2}),
        ("mps:a100:400,gpu:nvidia_h100_80gb_hbm3:7(IDX:0-6),nic:ib:2(S:0)", {"nvidia_h100_80gb_hbm3": 7}),
        ("craynetwork:4,bandwidth:lustre:no_consume:4G", {}),
        ("gpu:t4:0", {}),
        ("(null)", {}),
        ("", {}),
    ],
)
def test_gpus_are_counted_by_type_in_every_spelling_of_gres(text, expected):
    assert scontrol.gpus(text) == expected


@pytest.mark.parametrize("text", ["gpu:a100:four", "gpu:-1", "gpu:a100:4K", "gpu:7(S:0", "gpu:a100=4", "gpu:a:b:2"])
def test_gpus_that_nobody_can_count_are_not_guessed(text):
    with pytest.raises(UserError, match=f"Gres={re.escape(text)} is none as Slurm prints it"):
        scontrol.gpus(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-00:00:00", 1440),
        ("05:00:00", 300),
        ("00:30:00", 30),
        ("30:00", 30),
        ("00:00:30", 1),
        ("UNLIMITED", None),
        ("INFINITE", None),
        ("NONE", None),
        ("7-12:30:00", 10_830),
    ],
)
def test_a_time_limit_is_whole_minutes_or_none(text, expected):
    assert scontrol.minutes(text) == expected


@pytest.mark.parametrize("text", ["two days", "1-12:30", "1-00", "60", "-1", "Partition_Limit"])
def test_a_time_that_is_none_is_refused_with_its_text(text):
    with pytest.raises(UserError, match=f"'{text}' is no time as Slurm prints it"):
        scontrol.minutes(text)


def test_a_value_may_hold_blanks_and_a_reason_cannot_change_an_earlier_key():
    read = scontrol.pairs("NodeName=a OS=Linux 6.1 #1 SMP @0  State=IDLE AllocTRES= CfgTRES=cpu=2 Reason=x State=UP")
    assert read["OS"] == "Linux 6.1 #1 SMP @0"
    assert (read["State"], read["AllocTRES"], read["CfgTRES"]) == ("IDLE", "", "cpu=2")


@pytest.mark.parametrize(("text", "read"), [("slurm-wlm 22.05.8", (22, 5, 8)), ("23.11.4-1.el9", (23, 11, 4))])
def test_a_version_is_three_numbers(text, read):
    assert scontrol.version(text) == read


def test_the_expected_start_is_read_from_a_test_submission():
    text = "sbatch: Job 7 to start at 2026-11-21T06:54:54 using 2 processors on nodes vector[01-02] in partition vector"
    assert scontrol.expected_start(text) == "2026-11-21T06:54:54"
    assert scontrol.expected_start("sbatch: something else") is None


def test_submit_limits_are_read_by_qos_and_an_absent_limit_is_none():
    assert scontrol.qos_submit_limits("normal|\nhigh|20\nsome wrapper's line\n") == {"high": 20}


# --- what becomes of it -----------------------------------------------------------------------------


def test_the_real_cluster_of_22_05_is_understood():
    assert keys("22.05") == {
        ("vector", "t4"): {
            "scheduler": "slurm",
            "partition": "vector",
            "nodes": 4,
            "gpus_per_node": 8,
            "gpu_type": "t4",
            "gpu_dialect": "gres_typed",
            "gpu_model": "Tesla T4",
            "refused_precisions": ["bf16"],
            "cpus_per_gpu": 8,
            "mem_per_gpu_gib": 31,
            "max_minutes": 1440,
            "default_minutes": 60,
            "max_array_size": 1001,
        },
        ("nebula", "rtx3090"): {
            "scheduler": "slurm",
            "partition": "nebula",
            "nodes": 1,
            "gpus_per_node": 2,
            "gpu_type": "rtx3090",
            "gpu_dialect": "gres_typed",
            "gpu_model": "NVIDIA GeForce RTX 3090",
            "cpus_per_gpu": 8,
            "mem_per_gpu_gib": 31,
            "max_minutes": 1440,
            "default_minutes": 60,
            "max_array_size": 1001,
        },
    }


def test_untyped_gpus_limits_and_the_old_sruns_argument_of_20_11():
    (group,) = parsed(answers("20.11")).gpu_partitions
    assert group.keys == {
        "scheduler": "slurm",
        "partition": "gpu",
        "nodes": 4,
        "gpus_per_node": 4,
        "gpu_dialect": "gres",
        "gpu_model": "GPU of gpu",
        "cpus_per_gpu": 8,
        "mem_per_gpu_gib": 44,
        "exclusive": True,
        "account": "physics",
        "max_minutes": 3600,
        "default_minutes": 60,
        "max_array_size": 301,
        "max_submit": 500,
        "srun_args": ["--whole"],
    }
    assert any("1 of 6 nodes are down or drained now, for example g06" in note for note in group.notes)


def test_a_partition_without_gpus_is_left_out_with_its_reason():
    assert parsed(answers("20.11")).left_out == {
        "cpu": "its nodes have no GPUs (Gres=gpu...); if they have some that Slurm does not know of, write a profile "
        "with gpu_dialect: none"
    }


def test_a_partition_of_mixed_gpus_becomes_one_profile_for_each_type():
    described = keys("23.11")
    assert {kind: (k["nodes"], k["gpus_per_node"], k["cpus_per_gpu"]) for (_, kind), k in described.items()} == {
        "a100": (2, 4, 15),  # 8 + 4 GPUs: four on each of two nodes; a share is what the fuller node has for one GPU
        "v100": (1, 4, 31),
        "a100_1g.10gb": (1, 4, 32),
    }
    assert described["accel", "a100_1g.10gb"]["allowed_gpus"] == [1]
    assert described["accel", "v100"]["refused_precisions"] == ["bf16"]
    assert "refused_precisions" not in described["accel", "a100"]


def test_a_partition_without_a_time_limit_gets_one_and_says_so():
    group = parsed(answers("23.11")).gpu_partitions[0]
    assert (group.keys["max_minutes"], group.keys["default_minutes"]) == (10_080, 60)
    assert any("has no time limit; max_minutes=10080 is ours" in note for note in group.notes)


def test_the_only_qos_its_submit_limit_and_reserved_cores_of_24_05():
    described = keys("24.05")["h100.long", "h100"]
    limits = {"qos": "h100", "max_submit": 64, "cpus_per_gpu": 27, "mem_per_gpu_gib": 242}
    assert described | limits == described


def test_numeric_types_a_short_default_time_whole_nodes_and_no_arrays_of_21_08():
    described = keys("21.08")["gpu", "1080"]
    dialect = {"gpu_type": "1080", "gpu_model": "NVIDIA GeForce GTX 1080", "refused_precisions": ["bf16"]}
    limits = {"default_minutes": 60, "max_minutes": 2880, "max_array_size": 1, "exclusive": True, "gpus_per_node": 4}
    assert described | dialect | limits == described
    # Whole nodes are handed out (select/linear): memory is nothing that is asked for.
    assert "mem_per_gpu_gib" not in described


def test_amd_gpus_and_resources_beside_them_of_25_05():
    (group,) = [g for g in parsed(answers("25.05")).gpu_partitions if g.gpu_type == "mi250x"]
    vendor = {"gpu_vendor": "amd", "gpu_model": "AMD Instinct MI250X", "default_minutes": 60, "mem_per_gpu_gib": 59}
    assert group.keys | vendor == group.keys
    assert any("also have nvme, shard" in note for note in group.notes)


def test_the_partitions_own_word_on_consumable_memory_wins_over_the_clusters():
    assert "mem_per_gpu_gib" not in keys("25.05")["dev", "a100_2g.10gb"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_discovered_text_is_a_valid_profile_that_says_the_same(version, tmp_path):
    cluster = parsed(answers(version))
    texts = profile_files(cluster, [])
    assert len(texts) == len(cluster.gpu_partitions)
    for (name, text), group in zip(texts.items(), cluster.gpu_partitions, strict=True):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        read, keys_given = load(Entry(name=name, path=str(path), origin="site"))
        assert (read.name, read.scheduler, read.gpu_type) == (name, Scheduler.SLURM, group.gpu_type)
        assert read.gpu_dialect is (GpuDialect.GRES if group.gpu_type is None else GpuDialect.GRES_TYPED)
        assert keys_given == {"name", *group.keys}


def test_names_are_words_for_the_command_line_and_never_a_shipped_one():
    names = list(profile_files(parsed(answers("24.05")), ["vector_h100_long"]))
    assert names == ["vector_h100_long_site"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"nodes": "No nodes in the system\n"}, "`scontrol show node` printed a line .* 'No nodes in the system'"),
        ({"partitions": "<html>maintenance</html>"}, "`scontrol show partition` printed a line .* '<html>maint"),
        ({"partitions": ""}, "`scontrol show partition` printed no partition"),
        ({"partitions": "PartitionName=vector Nodes=vector[01-04]\n"}, "printed no MaxTime= .*PartitionName=vector"),
        ({"nodes": "NodeName=vector01 Partitions=vector\n"}, r"printed no Gres= \(for NodeName=vector01\)"),
        ({"nodes": "NodeName=a Partitions=vector Gres=gpu:8 CPUTot=many RealMemory=9\n"}, "CPUTot=many, which is no"),
        ({"config": "slurm_load_ctl_conf error\n"}, "`scontrol show config` printed no MaxArraySize="),
        ({"config": "MaxArraySize = 5\n"}, "`scontrol show config` printed no SLURM_VERSION="),
        ({"config": "MaxArraySize = 5\nSLURM_VERSION = new\n"}, "'new' names no Slurm version"),
    ],
)
def test_an_unexpected_answer_is_named(changes, named):
    with pytest.raises(UserError, match=named):
        parsed(answers("22.05", **changes))


# --- drift ------------------------------------------------------------------------------------------


def lab(**changes):
    """A profile that says what the captured 22.05 cluster says of its partition vector."""
    return profile(**({"partition": "vector", "gpu_type": "t4"} | changes))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({}, []),
        ({"partition": None}, []),  # the default one
        ({"gpu_type": None}, []),  # it has one type only
        ({"nodes": 6}, ["nodes: the profile says 6, the cluster 4"]),
        ({"gpus_per_node": 4}, ["gpus_per_node: the profile says 4, the cluster 8"]),
        ({"max_minutes": 2880}, ["max_minutes: the profile says 2880, the cluster 1440"]),
        ({"max_array_size": 10_001}, ["max_array_size: the profile says 10001, the cluster 1001"]),
        ({"gpu_type": "a40"}, ["gpu_type: the profile says a40, vector has t4"]),
        ({"partition": "t4v2"}, ["partition: t4v2 is not on cluster lab, which has vector, nebula"]),
    ],
)
def test_every_difference_to_the_cluster_is_a_sentence(changes, difference):
    assert drift(lab(**changes), parsed(answers("22.05"))) == difference


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (
            {"partition": "vector,nebula", "gpu_type": "t4"},
            ["nebula: gpu_type: the profile says t4, nebula has rtx3090"],
        ),
        ({"partition": "vector,gone"}, ["gone: partition: gone is not on cluster lab, which has vector, nebula"]),
        ({"gpu_dialect": GpuDialect.NONE, "exclusive": True, "nodes": 99}, []),
    ],
)
def test_each_of_several_partitions_is_compared_and_gpus_unknown_to_slurm_are_not(changes, difference):
    assert drift(lab(**changes), parsed(answers("22.05"))) == difference


def test_a_profile_that_names_no_type_of_a_mixed_partition_drifts():
    (difference,) = drift(profile(partition="accel"), parsed(answers("23.11")))
    assert difference == "gpu_type: the profile names none, and accel mixes a100, a100_1g.10gb, v100"
