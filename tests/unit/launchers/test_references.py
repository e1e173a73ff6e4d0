"""What a profile takes from whoever submits is a reference until the job runs; secrets by name are masked."""

import doctest
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers import references
from launchers.errors import UserError
from launchers.process.script import export_lines
from launchers.references import masked, resolved, shell_word
from tests.unit.builders import batch, profile

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="{}"), max_size=20)
VALUE = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=20)
"""Of a variable of whoever submits, who may have line breaks in it."""


def test_the_examples_hold():
    assert doctest.testmod(references).failed == 0


@settings(max_examples=50)
@given(before=TEXT, value=VALUE, default=st.none() | TEXT.map(lambda text: f"x{text}"), after=TEXT, there=st.booleans())
def test_a_shell_and_a_queue_resolve_a_reference_alike(before, value, default, after, there):
    text = f"{before}{references.reference('TOK', default)}{after}"
    environ = {"TOK": value} if there or default is None else {}
    wanted = before + environ.get("TOK", default) + after
    assert resolved({"A": text}, environ) == {"A": wanted}
    printed = subprocess.run(["bash", "-c", f"printf %s {shell_word(text)}"], env=environ, capture_output=True)
    assert printed.stdout == wanted.encode()


def test_a_script_takes_the_value_from_its_own_environment_and_ends_without_it():
    lines = [line for line in export_lines(batch(profile=profile(environment={"A": "${oc.env:TOK}"}))) if " A=" in line]
    for environ, output in (({"TOK": "a 'b'"}, "a 'b'"), ({}, "")):
        shell = subprocess.run(
            ["bash", "-c", "\n".join([*lines, 'printf %s "$A"'])], env=environ, capture_output=True, text=True
        )
        assert (shell.stdout, shell.returncode == 0) == (output, bool(environ)), shell.stderr
    assert "TOK: is not set where this job was submitted" in shell.stderr


def test_a_site_that_keeps_the_environment_from_jobs_cannot_hand_one_on():
    with pytest.raises(UserError, match=r"takes TOK from whoever submits.*file of mode 0600"):
        profile(environment={"A": "${oc.env:TOK}"}, sbatch={"export": "NONE"})


@pytest.mark.parametrize("name", ["TOK", "HF_TOKEN", "WANDB_API_KEY", "password", "DB_PASS", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize(
    "form",
    ["++partition.environment.{}=it is", "partition.environment={{A:b,{}:it is,C:d}}", "export B=c {}='it is'; date"],
)
def test_no_form_of_a_secret_is_shown(name, form):
    masked_text = masked(form.format(name))
    assert "***" in masked_text
    assert "it is" not in masked_text
    assert all(other in masked_text for other in ("A:b", "C:d", "B=c", "date") if other in form)


@pytest.mark.parametrize(
    "line",
    [
        "++partition.environment.TOK=${oc.env:TOK}",
        'export TOK="${TOK?is not set}"',
        "export TOK=$(cat ~/.tok)",
        "export OMP_NUM_THREADS=4",
        "#SBATCH --wckey=lab",
        "gpus=1,2",
        "model.layers=2",
    ],
)
def test_what_is_no_secret_stands_as_it_is(line):
    assert masked(line) == line
