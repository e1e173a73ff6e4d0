"""The examples for developers work: a rule finds its flaw, a backend renders, submits, looks and cancels."""

import inspect
import re
import subprocess

import pytest

from launchers.backend import Launcher, SubmitError, TaskState, Unconfirmed
from launchers.batch import Batch
from tests.conftest import ROOT
from tests.unit.analysis.builders import run
from tests.unit.builders import batch, put_programs
from vit_sweep.analysis.audit import judge
from vit_sweep.analysis.audit.finding import Claim, Standing

PAGE = (ROOT / "docs" / "extending.md").read_text()
RULE, BACKEND = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def module(text):
    """The names of an example."""
    names = {}
    exec(compile(text, "extending.md", "exec"), names)
    return names


def test_the_rule_of_the_page_finds_its_flaw_and_nothing_else(monkeypatch):
    rule = module(RULE)["short_epochs"]
    monkeypatch.setattr(judge, "RULES", (rule,))
    short = judge.audit([run(1, (0.6,)), run(2, (0.3,))])
    (finding,) = short.findings
    assert "0.3 s on 2 GPUs: less than 0.5 s" in finding.sentence
    assert next(judged.standing for judged in short.claims if judged.claim is Claim.THROUGHPUT) is Standing.WEAKENED
    assert judge.audit([run(1, (60.0,)), run(2, (30.0,))]).findings == ()


@pytest.fixture
def pbs(tmp_path, monkeypatch):
    """The backend of the page, beside programs that say what they were asked."""
    put_programs(
        tmp_path / "bin",
        qsub=f'echo "$@" >> {tmp_path}/asked; echo "$(wc -l < {tmp_path}/asked).server"',
        qstat='[ "$3" = 1.server ] && echo "    job_state = R" || echo "    job_state = F"',
        qselect='[ "$3" = lost ] || echo "7.server 8.server"',
        qdel=f'echo "$@" >> {tmp_path}/ended; [ "$1" != 9.server ] || {{ echo "not yours" >&2; exit 1; }}',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return module(BACKEND)["PbsLauncher"]()


def test_the_backend_of_the_page_has_every_verb_of_a_launcher(pbs):
    verbs = {name: verb for name, verb in vars(Launcher).items() if inspect.isfunction(verb) and name[0] != "_"}
    assert {name: list(inspect.signature(verb).parameters)[1:] for name, verb in verbs.items()} == {
        name: list(inspect.signature(getattr(pbs, name)).parameters) for name in verbs
    }


def test_the_backend_of_the_page_renders_submits_looks_finds_and_cancels(pbs, tmp_path):
    asked = batch(closing="vit_sweep.job.closing")
    assert isinstance(asked, Batch)
    rendered = pbs.render(asked)
    script = rendered.files[rendered.script]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "#PBS -l select=1:ngpus=2:mpiprocs=2\n" in script
    assert "vit_sweep.job.closing" in script
    (sent,) = pbs.submit([rendered])
    assert (sent.handle, sent.tasks) == ("1.server 2.server", 2)
    assert (tmp_path / "asked").read_text().count("VIT_SWEEP_TASK_INDEX=") == 2
    states = pbs.states([sent])
    assert [states[sent.batch_name, index].state for index in (0, 1)] == [TaskState.RUNNING, TaskState.ENDED]
    lost = [Unconfirmed(batch_name=name, folder="/s", study="s", tasks=2) for name in ("lost", "there")]
    found = pbs.find(lost)
    assert found["lost"] is None
    assert found["there"].handle == "7.server 8.server"
    pbs.cancel([(sent, [1])])
    pbs.cancel([(sent, None)])
    assert (tmp_path / "ended").read_text() == "2.server\n1.server 2.server\n"


def test_what_the_scheduler_refuses_is_told_in_its_words(pbs):
    (sent,) = pbs.submit([pbs.render(batch())])
    refused = sent.__class__(batch_name="b", folder="/s", handle="9.server", tasks=1)
    with pytest.raises(SubmitError, match="qdel: not yours"):
        pbs.cancel([(refused, None)])
