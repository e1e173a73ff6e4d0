"""What a study's plan names runs only for a user who has planned it or let it run, there and as it was then."""

import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from launchers.checked import to_json
from launchers.errors import ConsentError, UserError
from tests.unit.builders import ENGINE, planned_study, point, profile
from vit_sweep.cli.terminal.consent import agree
from vit_sweep.plan.specs import ModelCounts, ModelSpec
from vit_sweep.study import trust
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.store import Study
from vit_sweep.submit.batches import Todo
from vit_sweep.submit.next import write


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A user's state folder; what a process has in mind is forgotten by `forget`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    forget(monkeypatch)
    return tmp_path / "state"


def forget(monkeypatch):
    """As a later command of the same user."""
    monkeypatch.setattr(trust, "_OF_THIS_PROCESS", set())


@pytest.fixture
def study(tmp_path):
    return planned_study(tmp_path / "s", point())[0]


def run(study):
    """Render all that the plan names, as `resume` and whoever watches do."""
    todo = {cell: Todo(planned=planned, attempt=1, since=1) for cell, planned in study.planned().items()}
    return write(study, todo, take(study.folder))


def test_what_a_user_planned_runs_for_them_also_later(study, monkeypatch):
    forget(monkeypatch)
    assert run(study)


def test_a_copy_and_a_moved_study_run_only_after_consent_which_lasts(study, tmp_path, monkeypatch):
    copy = Study(shutil.copytree(study.folder, tmp_path / "copy"))
    with pytest.raises(UserError, match=r"let it run .*resume \S*copy --trust"):
        run(copy)
    assert not any((copy.folder / "jobs").iterdir())
    trust.remember(copy.folder, copy.plan_file().profiles)
    forget(monkeypatch)
    assert run(copy)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"python": "/tmp/evil"}, "partition lab: Python /tmp/evil"),
        ({"setup": ("touch /tmp/x",)}, "  setup: touch /tmp/x"),
        ({"environment": {"LD_PRELOAD": "x.so"}}, "  environment: LD_PRELOAD=x.so"),
        ({"account": "a"}, "  account: a"),
    ],
)
def test_a_plan_that_was_changed_since_runs_only_after_consent_to_what_is_shown(change, line, study):
    plan = study.plan_file()
    changed = replace(plan, profiles=(replace(plan.profiles[0], **change),))
    (study.folder / "plan.json").write_text(to_json(changed))
    with pytest.raises(UserError, match="changed since"):
        run(study)
    assert line in list(trust.what_runs(changed.profiles[0]))


def test_a_study_that_is_swapped_for_another_after_consent_does_not_run(study, tmp_path, monkeypatch):
    """By whoever may write the folder above it, between the question and the answer's use."""
    other, _ = planned_study(tmp_path / "o" / "s", point(partition=profile(setup=("touch /tmp/x",))))
    agree(study, Console(), trust=True)
    planned = study.planned()
    study.folder.rename(tmp_path / "away")
    other.folder.rename(study.folder)
    forget(monkeypatch)
    with pytest.raises(UserError, match="let it run"):
        run(study)
    # What was read before the swap is what was agreed to.
    assert not any("touch" in line for item in planned.values() for line in item.profile.setup)
    assert not any((study.folder / "jobs").iterdir())


def test_modules_of_somebodys_own_in_a_copy_runs_only_after_consent_to_what_is_shown(tmp_path, monkeypatch):
    """A job imports what a cell names for its engine and its model."""
    engine = replace(ENGINE, kind="their_package.engine", zero_stage=None)
    counts = ModelCounts(parameters=1, flop_per_image=1.0)
    model = ModelSpec(name="net", image_size=32, target="their_package.nets:build", counts=counts)
    study, _ = planned_study(tmp_path / "s", point(engine=engine), point(model=model))
    forget(monkeypatch)
    assert run(study), "its own user has planned it"
    copy = Study(shutil.copytree(study.folder, tmp_path / "copy"))
    trust.remember(copy.folder, copy.plan_file().profiles)
    with pytest.raises(UserError, match=r"for module their_package\.engine, module their_package\.nets:build"):
        run(copy)
    console = Console(width=200)
    with console.capture() as screen, pytest.raises(ConsentError):
        agree(copy, console, trust=False)
    assert "module their_package.engine: Python" in screen.get()
    agree(copy, console, trust=True)
    forget(monkeypatch)
    assert run(copy)


def test_a_user_without_a_folder_for_it_consents_once_a_command(study, state, monkeypatch):
    shutil.rmtree(state)
    state.write_text("no folder")
    forget(monkeypatch)
    trust.remember(study.folder, study.plan_file().profiles)
    assert run(study)
    forget(monkeypatch)
    with pytest.raises(UserError, match="--trust"):
        run(study)


def test_a_folder_of_consents_that_others_may_write_is_not_believed(study, state, monkeypatch):
    forget(monkeypatch)
    (state / "vit_sweep" / "trusted").chmod(0o777)
    with pytest.raises(UserError, match="--trust"):
        run(study)


def test_variables_that_whoever_submits_lacks_are_named_before_anything_is_submitted(tmp_path, monkeypatch):
    taking = point(partition=profile(environment={"A": "${oc.env:PLANTED_TOKEN}"}))
    study, _ = planned_study(tmp_path / "s", taking)
    monkeypatch.delenv("PLANTED_TOKEN", raising=False)
    with pytest.raises(UserError, match="export PLANTED_TOKEN"):
        run(study)
    monkeypatch.setenv("PLANTED_TOKEN", "there")
    assert run(study)
