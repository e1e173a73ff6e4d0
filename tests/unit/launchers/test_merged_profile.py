"""A cell that several partitions may run is one job that fits all of them; unlike hardware or scripts are refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.errors import UserError
from launchers.merged_profile import either
from launchers.profile import GpuDialect, PartitionProfile, Scheduler
from tests.unit.builders import profile


def some(name: str, **changes) -> PartitionProfile:
    return profile(name=name, **({"partition": name} | changes))


def test_slurm_is_told_of_all_and_the_order_of_the_words_is_nothing():
    short, long = some("short", max_minutes=60), some("long", max_minutes=3000, nodes=2)
    joined = either([short, long])
    assert either([long, short]) == joined
    assert (joined.name, joined.partition) == ("long+short", "long,short")
    assert either([some("a", partition="x,y"), some("b", partition="y")]).partition == "x,y"


limits = st.fixed_dictionaries(
    {
        "nodes": st.integers(1, 9),
        "gpus_per_node": st.integers(4, 9),
        "max_minutes": st.integers(1, 9),
        "max_array_size": st.integers(1, 9),
        "max_submit": st.none() | st.integers(1, 9),
        "allowed_gpus": st.just(()) | st.just((1, 2, 4)) | st.just((1, 4)),
    }
)


@given(st.lists(limits, min_size=2, max_size=4))
def test_what_fits_the_joint_profile_fits_every_one_of_them(drawn):
    profiles = [some(f"p{i}", default_minutes=1, **keys) for i, keys in enumerate(drawn)]
    joined = either(profiles)
    for one in profiles:
        assert joined.nodes <= one.nodes
        assert joined.gpus_per_node <= one.gpus_per_node
        assert joined.max_minutes <= one.max_minutes
        assert joined.max_array_size <= one.max_array_size
        assert one.max_submit is None or (joined.max_submit or 0) <= one.max_submit
        assert not one.allowed_gpus or set() < set(joined.allowed_gpus) <= set(one.allowed_gpus)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gpu_model": "NVIDIA A40"}, "gpu_model is Tesla T4 and NVIDIA A40"),
        ({"cluster": "west"}, "cluster is not given and west"),
        ({"account": "them"}, "account is not given and them"),
        ({"gpu_dialect": GpuDialect.GPUS_PER_NODE}, "gpu_dialect is gres and gpus_per_node"),
        ({"setup": ("module load cuda",)}, "setup is not given and"),
        ({"scheduler": Scheduler.LOCAL}, "only Slurm chooses"),
        ({"partition": None}, "does not name its partition"),
        ({"name": "one"}, "named twice"),
        ({"allowed_gpus": (3,)}, "no allowed count of GPUs in common"),
    ],
)
def test_what_cannot_be_one_job_is_refused_with_the_reason(changes, why):
    with pytest.raises(UserError, match=why) as raised:
        either([some("one", allowed_gpus=(1, 2)), replace(some("other"), **changes)])
    assert str(raised.value).startswith("partition=one+")


def test_of_many_differences_a_few_are_named():
    unlike = some("b", gpu_model="x", account="x", qos="x", constraint="x", gpu_memory_gib=1.0, cpus_per_gpu=3)
    with pytest.raises(UserError, match="; and 2 more – compare them by -m partition=a,b"):
        either([some("a"), unlike])
