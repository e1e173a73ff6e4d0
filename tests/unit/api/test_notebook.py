"""The notebook of the docs runs, as a reader's own kernel runs it, and is kept without outputs."""

from typing import NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from vit_sweep.report.figure import SWITCH

PAGE = ROOT / "docs" / "notebook.ipynb"


class Executed(NamedTuple):
    """The code cells after a run."""

    sources: list[str]
    outputs: list[list[dict]]

    def of(self, source):
        """The outputs of the one cell that begins with `source`."""
        (index,) = (index for index, text in enumerate(self.sources) if text.startswith(source))
        return self.outputs[index]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """All of it in one kernel, in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(folder / ".ipython"))
        patch.setenv(SWITCH, "svg")
        made = nbformat.read(PAGE, as_version=4)
        NotebookClient(made, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    return Executed([cell.source for cell in cells], [cell.outputs for cell in cells])


def test_it_is_kept_small_and_without_outputs():
    kept = nbformat.read(PAGE, as_version=4)
    nbformat.validate(kept)
    assert [cell.outputs for cell in kept.cells if cell.cell_type == "code" and cell.outputs] == []
    assert PAGE.stat().st_size < 20_000


def test_a_figure_is_shown_as_a_picture_and_a_study_as_a_table(executed):
    (figure,) = executed.of("paper.figure")
    assert "image/png" in figure["data"]
    assert "<table>" in executed.of("study = vs.sweep")[0]["data"]["text/html"]
    assert "dataframe" in executed.of("paper.table")[0]["data"]["text/html"]


def test_what_it_says_is_printed_by_its_own_cells_alone(executed):
    silent = [
        source
        for source, outputs in zip(*executed, strict=True)
        if "print(" not in source
        for output in outputs
        if output["output_type"] == "stream"
    ]
    assert silent == []
    assert "did you mean vit_b_16" in executed.of("try:")[0]["text"]
