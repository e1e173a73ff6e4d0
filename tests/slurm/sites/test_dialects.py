"""Sites unlike ours, one row each: what a site does, and what must become of a study there.

All but one live on one real Slurm, whose profiles are as `profiles discover` writes them. Sweeps run side by side.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests import warm
from tests.slurm.conftest import trivial
from tests.slurm.studies import WORKLOAD, Lab, program

pytestmark = pytest.mark.slurm

LAB = (
    "++partition.device=cpu",
    "++partition.python=trivial",
    "++partition.cpus_per_gpu=1",
    "++partition.mem_per_gpu_gib=2",
)
BANNER = "echo '*** Welcome to the lab | 7 | 2 ***'; echo 'Maintenance on Monday' >&2"
FEDERATED = """
[ "$(basename "$0")" = squeue ] || { answer=$("$real" "$@") && echo "$answer;lab"; exit $?; }
"""
UNRELIABLE = """
sleep 0.2
echo >> "$0.calls"
case "$(basename "$0")$(($(wc -l < "$0.calls") % 4))" in
  sbatch2) "$real" "$@" > /dev/null; echo "error: Socket timed out on send/recv operation" >&2; exit 1 ;;
  sbatch1|sbatch3|squeue[02]) echo "error: Unable to contact slurm controller (connect failure)" >&2; exit 1 ;;
esac
"""


class Site(NamedTuple):
    """A difference, and what must come of it: each cell done once by these jobs, or one sentence of refusal."""

    words: Sequence[str] = ()
    """Of the sweep, beside its cells."""
    cells: int = 2
    partition: str = "nebula"
    script: Sequence[str] = ()
    """Lines of every script."""
    jobs: Sequence[int] = (2,)
    """Tasks of each job or array, in the order of submission."""
    handle: str = r"\d+"
    """How Slurm's answers stand in the journal."""
    first: tuple[str, Sequence[str]] = ("quick", ["1"])
    """What the first cell does (tests/slurm/ranks/trivial), and its attempts."""
    environment: Mapping[str, str] = {}
    before: str = ""
    after: str = ""
    """What sbatch and squeue do before and after what Slurm's own do."""
    accounting: bool = True
    refusal: str = ""


SITES = {
    "types of GPUs are numbers": Site(script=["#SBATCH --gres=gpu:1080:1"]),
    "an account is demanded, and the profile names it": Site(partition="physics", script=["#SBATCH --account=physics"]),
    "an account is demanded, and the user's variable names it": Site(
        ["++partition.account=null"], partition="physics", environment={"SBATCH_ACCOUNT": "physics"}
    ),
    "an account is demanded, and nobody names one": Site(
        ["++partition.account=null"],
        partition="physics",
        refusal="Invalid account or account/partition combination specified – name one: account=NAME",
    ),
    "arrays have at most three tasks": Site(cells=4, jobs=(3, 1)),
    "arrays have at most three tasks, and the profile says more": Site(
        ["++partition.max_array_size=1001"],
        cells=4,
        refusal="Invalid job array specification – `scontrol show config` says MaxArraySize: ++partition.max_array_",
    ),
    "a user may have two jobs": Site(cells=3, partition="two", jobs=(2, 1)),
    "a user may have two jobs, and the profile does not say so": Site(["qos=two"], cells=3, jobs=(1, 2)),
    "jobs are not requeued unless they ask for it": Site(first=("die-once", ["1", "1.1"])),
    "nobody accounts, and ended jobs are soon forgotten": Site(["++partition.gpu_type=rtx3090"], accounting=False),
    "there are no arrays, variables stay behind, comments are the site's": Site(
        [
            "++partition.max_array_size=1",
            "++partition.partition='vector,nebula'",
            "++partition.gpu_dialect=gpus",
            "++partition.gpu_type=null",
            "++partition.sbatch.export=NONE",
            "++partition.sbatch.comment='project=7'",
            f"++partition.environment.PATH='{trivial()['PATH']}'",
        ],
        script=["#SBATCH --export=NONE", "#SBATCH --comment=project=7", "#SBATCH --gpus=1"],
        jobs=(1, 1),
    ),
    "sbatch answers as that of a federation": Site(before=FEDERATED, handle=r"\d+;lab"),
    "sbatch and squeue say more than they are asked": Site(before=BANNER, after=BANNER),
    "sbatch is slow and fails three times of four, and squeue every other time": Site(before=UNRELIABLE),
}


@pytest.fixture(scope="module")
def ends(cluster_with_database, forgetful_cluster, tmp_path_factory):
    """The study of every row and the end of its sweep, as futures by the row's name."""
    folder = tmp_path_factory.mktemp("sites")
    words = ("profiles", "discover", "--write", folder / "conf")
    discovered = warm.run(*words, cwd=folder, env=cluster_with_database.environment)
    assert discovered.returncode == 0, discovered.stderr
    clusters = {True: cluster_with_database, False: forgetful_cluster}

    def run(number, site):
        place = folder / str(number)
        place.mkdir()
        lab = Lab(None, clusters[site.accounting], place / "outputs" / "s")
        return lab, sweep(site, lab, place, {"VIT_SWEEP_CONF": str(folder / "conf")})

    with ThreadPoolExecutor(len(SITES)) as pool:
        yield {name: pool.submit(run, number, site) for number, (name, site) in enumerate(SITES.items())}


def sweep(site, lab, place, conf):
    """One row's sweep, to its end."""
    variables = trivial(s0=site.first[0])
    if site.before:
        for name in ("sbatch", "squeue"):
            path = program(place / "bin", name, before=site.before, after=site.after)
        variables["PATH"] = f"{path}:{variables['PATH']}"
    words = [*WORKLOAD, f"partition=lab_{site.partition}", *LAB, f"seed=range({site.cells})", "study=s", *site.words]
    environment = lab.cluster.environment | variables | conf | dict(site.environment)
    return warm.run("-m", *words, cwd=place, env=environment)


@pytest.mark.parametrize("name", SITES)
def test_a_study_on_a_site_where(ends, name):
    site, (lab, end) = SITES[name], ends[name].result()
    story = f"{end.stdout[-3000:]}\n{end.stderr}"
    if site.refusal:
        assert (end.returncode, end.stderr.count("\n")) == (2, 1), story
        assert site.refusal in end.stderr
        return
    assert end.returncode == 0, story + lab.logs()
    assert {status for status, *_ in lab.table().values()} == {"done"}
    sent = [entry for entry in lab.journal() if entry["event"] == "submitted"]
    assert [len(entry["tasks"]) for entry in sent] == list(site.jobs), story
    assert all(re.fullmatch(site.handle, entry["handle"]) for entry in sent)
    assert lab.attempts(0) == site.first[1]
    assert all(lab.attempts(seed) == ["1"] for seed in range(1, site.cells))
    for script in lab.scripts():
        assert set(site.script) <= set(script.splitlines())
