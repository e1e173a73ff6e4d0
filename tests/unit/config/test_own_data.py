"""Data that a command names by its path."""

import pytest

from vit_sweep.config.data_catalog import catalog, load
from vit_sweep.config.spelling import spelled_out


def test_a_path_after_data_is_two_words():
    assert spelled_out(["-m", "data=photos/my leaves", "gpus=1,2"]) == [
        "-m",
        "data=imagefolder",
        "data.path='photos/my leaves'",
        "gpus=1,2",
    ]
    assert spelled_out(["data=digits,cifar10"]) == ["data=digits,cifar10"]


def test_a_path_with_the_words_of_a_sweep_is_a_request(tmp_path):
    asked = load(str(tmp_path), catalog(None), ["data.side=32", "data.corrupt=skip"])
    assert (asked.path, asked.side, asked.corrupt, asked.split) == (str(tmp_path), 32, "skip", 0.1)


def test_the_model_gets_the_channels_of_the_data_unless_the_command_says_how_many(ask):
    points, _ = ask("data.channels=3,8", "data=synthetic")
    assert [(p.data.channels, p.model.channels) for p in points] == [(3, 3), (8, 8)]
    points, _ = ask("model.channels=1")
    assert (points[0].data.channels, points[0].model.channels) == (3, 1)


@pytest.mark.parametrize(("size", "shape"), [("[64,32]", (64, 32)), ("64", (64, 64))])
def test_an_image_size_may_be_rows_and_columns(ask, size, shape):
    points, _ = ask(f"model.image_size={size}")
    assert points[0].model.image_shape == shape
