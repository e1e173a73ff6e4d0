"""The variables of a job have one file, and no job hands them on to the jobs that it submits."""

from launchers.process import environment
from launchers.process.environment import clean_environment
from tests.conftest import ROOT


def of_a_job():
    return {value for value in vars(environment).values() if isinstance(value, str) and value.startswith("VIT_SWEEP_")}


def test_an_outer_jobs_variables_do_not_bend_a_submission():
    outer = {"SLURM_JOB_ID": "1", "SLURMD_NODENAME": "n", "SBATCH_PARTITION": "x", "SRUN_CPUS_PER_TASK": "2"}
    outer |= {"SQUEUE_PARTITION": "x", "SACCT_FORMAT": "x", "SCANCEL_STATE": "x"}
    outer |= dict.fromkeys(of_a_job(), "7")
    outer |= {
        "OMPI_COMM_WORLD_RANK": "0",
        "TORCHELASTIC_RUN_ID": "x",
        "PMIX_RANK": "0",
        "RANK": "3",
        "MASTER_PORT": "1",
    }
    unchanged = {
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JWT": "t",
        "PATH": "/bin",
        "MY_SLURM_X": "1",
        "OMPI_MCA_btl": "tcp",
    }
    unchanged |= {"VIT_SWEEP_CONF": "/c", "SBATCH_ACCOUNT": "mine", "SBATCH_QOS": "high"}
    assert clean_environment(outer | unchanged) == unchanged


def test_no_other_file_of_the_launchers_or_of_the_jobs_spells_a_variable_of_a_job():
    assert len(of_a_job()) == 7
    spelled = {
        path.relative_to(ROOT).as_posix()
        for room in ("launchers", "vit_sweep/job")
        for path in (ROOT / room).rglob("*.py")
        if any(name in path.read_text() for name in of_a_job())
    }
    assert spelled == {"launchers/process/environment.py"}
