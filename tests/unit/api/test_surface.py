"""What `import vit_sweep` gives is what users' notebooks rely on: few names, typed, light, changed only on purpose."""

import ast
import inspect
import json
import re
import subprocess
import sys

import pytest

import vit_sweep as vs
from tests.conftest import ROOT
from tests.unit.cli.input.test_claims import write_study

GOLDEN = ROOT / "tests" / "golden" / "api.txt"
HEAVY = ("torch", "pandas", "numpy", "scipy", "matplotlib", "seaborn", "pyarrow", "hydra", "rich", "typer")


def _members(cls):
    for name, member in inspect.getmembers_static(cls):
        if not name.startswith("_") or name == "_repr_html_":
            yield name, member


def _signature(call):
    return str(inspect.signature(call)).replace("'", "").replace('"', "")


def surface():
    """A line for each public name, and for each public member of a class."""
    for name in vs.__all__:
        given = getattr(vs, name)
        if not inspect.isclass(given):
            yield f"{name}{_signature(given)}"
        elif given is not vs.UserError:
            for member_name, member in _members(given):
                kind = member.fget if isinstance(member, property) else member
                yield f"{name}.{member_name}{_signature(kind) if callable(kind) else ''}"


def test_the_public_names_and_their_signatures_are_those_that_are_written_down():
    """After a change on purpose: write the lines that the failure shows into the file, and say it in CHANGELOG."""
    assert list(surface()) == GOLDEN.read_text().splitlines()


def test_every_public_name_is_documented_and_typed():
    for line in surface():
        name, _, member = line.partition("(")[0].partition(".")
        given = inspect.getattr_static(getattr(vs, name), member) if member else getattr(vs, name)
        call = given.fget if isinstance(given, property) else given
        assert inspect.getdoc(call), line
        if callable(call):
            assert "return" in call.__annotations__, line


def test_what_type_checkers_are_told_is_what_is_imported():
    tree = ast.parse((ROOT / "vit_sweep" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: line.module for line in block.body for alias in line.names}
    assert told == vs._HOMES
    assert sorted(vs.__all__) == sorted(told)
    assert set(vs.__all__) < set(dir(vs))
    for package in ("vit_sweep", "launchers"):
        assert (ROOT / package / "py.typed").is_file()


def test_the_page_of_it_names_every_function_and_every_attribute_and_no_other():
    page = (ROOT / "docs" / "python.md").read_text()
    functions = {name for name in vs.__all__ if not inspect.isclass(getattr(vs, name))}
    assert {*re.findall(r"\bvs\.(\w+)", page)} == functions | {"UserError"}
    table = page.partition("| attribute |")[2].partition("Every look")[0]
    named = {*re.findall(r"`\.(\w+)", table)}
    members = {name for name, _ in _members(vs.Study)} - {"_repr_html_", "name"}
    assert named == members
    assert {*re.findall(r"\bstudy\.(\w+)", page)} <= members


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        _ = vs.opne


def loaded(program):
    """The heavy packages that a fresh interpreter has imported after `program`."""
    code = f"import json, sys\n{program}\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_importing_it_imports_nothing_else_and_the_probe_can_fail():
    assert loaded("import vit_sweep\nassert not [m for m in sys.modules if m.startswith('vit_sweep.')]") == []
    assert loaded("import numpy") == ["numpy"]


def test_without_the_extra_for_tables_a_sentence_names_it(tmp_path):
    study = write_study(tmp_path / "mine", gpus=(1,), seeds=(0,))
    program = """
import sys
for name in ("pandas", "scipy", "matplotlib", "seaborn", "pyarrow", "jinja2"):
    sys.modules[name] = None
import vit_sweep as vs
study = vs.open(sys.argv[1])
curve = vs.simulate(partition="vector_t4v2", gpus=[1, 2])
asks = [lambda: study.runs, lambda: study.table("strong"), lambda: study.figure("strong_time"), study.fit, study.status,
        study.report, lambda: vs.compare(study, study), lambda: vs.read_csv("x.csv"), lambda: curve.table, curve.figure]
for ask in asks:
    try:
        ask()
    except vs.UserError as error:
        print(error)
"""
    answer = subprocess.run([sys.executable, "-c", program, study.folder], capture_output=True, text=True, check=True)
    sentences = answer.stdout.splitlines()
    assert len(sentences) == 10
    assert {sentence.partition(": ")[2] for sentence in sentences} == {"pip install 'vit_sweep[report]'"}


def test_opening_a_study_needs_neither_pandas_nor_hydra():
    assert loaded("import vit_sweep\nvit_sweep.open") == []
