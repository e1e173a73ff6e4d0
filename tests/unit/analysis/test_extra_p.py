"""Series go out in Extra-P's form, and Extra-P itself reads them where it is installed."""

import json

import pytest

from tests.unit.analysis.builders import series_from
from vit_sweep.analysis.extra_p import extra_p


def series():
    return [series_from({1: [[10.0], [11.0]], 2: [[6.0]], 4: [[3.0, 3.2]]})]


def test_each_series_is_a_callpath_with_the_medians_of_its_runs():
    (metrics,) = json.loads(extra_p(series()))["measurements"].values()
    assert metrics["epoch_s"] == [
        {"point": [1.0], "values": [10.0, 11.0]},
        {"point": [2.0], "values": [6.0]},
        {"point": [4.0], "values": [3.1]},
    ]


def test_extra_p_reads_it(tmp_path):
    reader = pytest.importorskip("extrap.fileio.file_reader.json_file_reader").JsonFileReader()
    path = tmp_path / "extra-p.json"
    path.write_text(extra_p(series()))
    experiment = reader.read_experiment(path)
    assert [str(parameter) for parameter in experiment.parameters] == ["p"]
    assert len(experiment.coordinates) == 3
