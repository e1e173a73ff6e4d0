"""What a client that waits asks of a real Slurm: as good as nothing while the jobs' own files say how they are."""

import pytest

from tests.conftest import wait_for
from tests.slurm.conftest import trivial
from tests.slurm.studies import Lab, program

pytestmark = pytest.mark.slurm


def test_the_end_of_a_job_is_seen_in_its_files_while_nobody_answers_for_slurm(sweep, shared_cluster, tmp_path):
    lab = Lab(sweep, shared_cluster, tmp_path / "outputs" / "short")
    variables = trivial(s0="hold", s1="hold")
    lab.start("seed=0,1", variables=variables)
    for seed in (0, 1):
        lab.wait_until_running(seed)
    note = f'echo "$*" >> {tmp_path}/asked; [ -e {lab.folder}/release ] && exit 1'
    stand_ins = program(tmp_path / "bin", "squeue", before=note)
    with lab.watching(variables=variables | {"PATH": f"{stand_ins}:{variables['PATH']}"}) as client:
        wait_for((tmp_path / "asked").exists)
        lab.release()
        assert client.wait(timeout=300) == 0
    assert all(lab.record(seed) for seed in (0, 1))
    of_all = [words for words in (tmp_path / "asked").read_text().splitlines() if "--user=" in words]
    assert of_all
