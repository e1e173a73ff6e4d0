"""submitit's renderer is the one that `launchers.slurm.renderer` was written for; a release that differs says how."""

import inspect
import re
import subprocess
import sys
import tomllib

import pytest
import submitit
from submitit.slurm.slurm import _make_sbatch_string

from tests.conftest import ROOT
from tests.warm import clean_environment

NAMES_WE_PASS = re.findall(
    r"\w+",
    """command folder job_name comment time nodes ntasks_per_node cpus_per_task setup teardown map_count
    array_parallelism wckey additional_parameters use_srun srun_args""",
)
NAMES_THAT_WRITE_NOTHING = re.findall(
    r"\w+",
    """partition cpus_per_gpu num_gpus gpus_per_node gpus_per_task qos mem mem_per_gpu mem_per_cpu constraint exclude
    account gres mail_type mail_user nodelist dependency exclusive""",
)
LEFT_OUT = dict.fromkeys(NAMES_THAT_WRITE_NOTHING) | {"signal_delay_s": 90, "stderr_to_stdout": False}
"""What we never pass, with the default that our scripts are written for."""
ADVICE = (
    "Read the release's `_make_sbatch_string`, adapt launchers/slurm/renderer.py and the lists of this test, run "
    "tests/unit/launchers/test_golden.py (every script must stay as it is), and only then widen the bound in "
    "pyproject.toml; to stay on the old release, lower the bound there and in constraints.txt."
)


def changes(function):
    """How the parameters of submitit's renderer differ from those that ours was written for, one sentence each."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    sentences = [
        f"`{name}`, which we pass, is gone: no script renders" for name in NAMES_WE_PASS if name not in defaults
    ]
    sentences += [f"`{name}` is gone: strike it from this test" for name in LEFT_OUT if name not in defaults]
    for name, default in defaults.items():
        if name in LEFT_OUT and default != LEFT_OUT[name]:
            sentences.append(f"`{name}` is {default!r} by default, not {LEFT_OUT[name]!r}: every script may change")
        elif name not in [*LEFT_OUT, *NAMES_WE_PASS]:
            effect = "every script may change"
            if default is inspect.Parameter.empty:
                effect = "no script renders"
            elif default is None:
                effect = "it writes nothing by default"
            sentences.append(f"`{name}` is new: {effect}")
    return sentences


def test_submitits_renderer_is_the_one_that_ours_was_written_for():
    sentences = "\n- ".join(changes(_make_sbatch_string))
    assert not sentences, f"submitit {submitit.__version__} renders by other rules:\n- {sentences}\n{ADVICE}"


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda folder: "", "`command`, which we pass, is gone: no script renders"),
        (lambda command: "", "`mem` is gone: strike it from this test"),
        (lambda mem="4G": "", "`mem` is '4G' by default, not None: every script may change"),
        (lambda token: "", "`token` is new: no script renders"),
        (lambda nice=None: "", "`nice` is new: it writes nothing by default"),
        (lambda kill_on_bad=1: "", "`kill_on_bad` is new: every script may change"),
    ],
)
def test_a_release_that_changes_a_parameter_is_told_in_words(function, sentence):
    assert sentence in changes(function)


def test_releases_that_may_be_installed_are_bounded_to_those_that_were_tried():
    bounds = [
        need
        for need in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        if "submitit" in need
    ]
    assert bounds == ["submitit>=1.5.4,<1.6"]
    assert submitit.__version__.split(".")[:2] == ["1", "5"]


def test_the_warning_is_usr2_whatever_the_callers_environment_tells_submitit():
    code = """
from launchers.slurm.sbatch import render
from tests.unit.builders import batch
print(render(batch(), python="python"))
"""
    environment = clean_environment() | {"SUBMITIT_PREEMPT_SIGNAL": "USR1", "PYTHONPATH": str(ROOT)}
    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "#SBATCH --signal=USR2@90\n" in completed.stdout, completed.stderr
