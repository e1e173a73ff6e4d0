"""Data that a command names by its path."""

import pytest

from launchers.errors import UserError
from vit_sweep.config.data_catalog import catalog, load
from vit_sweep.config.shorthand import expanded


def test_a_path_after_data_is_two_words():
    assert expanded(["-m", "data=photos/my leaves", "gpus=1,2"]) == [
        "-m",
        "data=imagefolder",
        "data.path='photos/my leaves'",
        "gpus=1,2",
    ]
    assert expanded(["data=digits,cifar10"]) == ["data=digits,cifar10"]


def test_a_name_without_a_slash_is_a_folder_only_where_no_data_set_is_called_so(tmp_path, monkeypatch):
    """Alike in a sweep and in `data prepare`, which has the packed folders and the sources of presets around it."""
    monkeypatch.chdir(tmp_path)
    for name in ("leaves", "cifar10", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "site/data").mkdir()
    (tmp_path / "site/data/leaves.yaml").write_text("name: leaves\nsource: synthetic\n")
    assert expanded(["data=leaves"]) == ["data=imagefolder", "data.path=leaves"]
    assert expanded(["data=cifar10"]) == ["data=cifar10"]
    for words in (["--config-dir=site"], ["--config-dir", "site"]):
        assert expanded([*words, "data=leaves"]) == [*words, "data=leaves"]
    (tmp_path / "scans.h5").touch()
    with pytest.raises(
        UserError, match=r"leaves is imagefolder, ./scans.h5 is hdf5; paths of one axis are of one kind"
    ):
        expanded(["data=leaves,./scans.h5"])
    assert load("leaves", catalog(None)).path == str(tmp_path / "leaves")
    assert load("cifar10", catalog(None)).train_images == 50_000


@pytest.mark.parametrize("several", ["-m", ""])
def test_data_that_are_not_there_are_a_sentence_with_the_words_that_help(sweep, tmp_path, several):
    words = [several] if several else []
    answer = sweep(*words, "data=leaves", "dry_run=true")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: data=leaves: there is no such data – ")
    assert answer.stderr.endswith("; yours is data=path/to/DIR\n")
    answer = sweep(*words, "data=./leaves", "dry_run=true")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"data=leaves: {tmp_path}/leaves is not there, and no leaves-packed-256 in data;" in answer.stderr
    answer = sweep(*words, "data=imagefolder", "dry_run=true")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: data.path: it has no value of its own")


def test_a_path_with_the_words_of_a_sweep_is_a_request(tmp_path):
    asked = load(str(tmp_path), catalog(None), ["data.side=32", "data.corrupt=skip"])
    assert (asked.path, asked.side, asked.corrupt, asked.split) == (str(tmp_path), 32, "skip", 0.1)


def test_data_prepare_takes_the_words_of_a_sweep_as_they_are(tmp_path):
    said = load("data=imagefolder", catalog(None), [f"data.path={tmp_path}"])
    assert said == load("imagefolder", catalog(None), [f"data.path={tmp_path}"]) == load(str(tmp_path), catalog(None))


def test_the_model_gets_the_channels_of_the_data_unless_the_command_says_how_many(ask):
    points, _ = ask("data.channels=3,8", "data=synthetic")
    assert [(p.data.channels, p.model.channels) for p in points] == [(3, 3), (8, 8)]
    points, _ = ask("model.channels=1")
    assert (points[0].data.channels, points[0].model.channels) == (3, 1)


@pytest.mark.parametrize(("size", "shape"), [("[64,32]", (64, 32)), ("64", (64, 64))])
def test_an_image_size_may_be_rows_and_columns(ask, size, shape):
    points, _ = ask(f"model.image_size={size}")
    assert points[0].model.image_shape == shape


@pytest.mark.parametrize("size", ["24x32", "[24]", "[24,x]", "[24,32,3]", "2.5"])
def test_an_image_size_of_another_form_is_told_both(ask, size):
    with pytest.raises(UserError, match=r"model.image_size=.* – must be a whole number or a list of 2$"):
        ask(f"model.image_size={size}")


def test_a_simulation_takes_a_path_as_a_sweep_does(sweep, tmp_path):
    for label in ("ash", "oak"):
        (tmp_path / "leaves" / label).mkdir(parents=True)
        (tmp_path / "leaves" / label / "1.jpg").touch()
    answer = sweep("simulate", "data=leaves", "partition=h100_nvlink_ib", "model=vit_b_16")
    assert answer.returncode == 2
    assert "data=leaves: data/leaves-packed-256/manifest.json is missing" in answer.stderr
