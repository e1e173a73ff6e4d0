"""The words of a text tower: axes of a model that learns from captions, no part of any other."""

import pytest

from launchers.errors import UserError
from vit_sweep.config.explain import explain
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.specs import TextSpec


def test_a_text_tower_is_there_with_captions_alone_and_its_words_are_axes(ask):
    points, _ = ask("task=contrastive,classification", "model.text.layers=1,3")
    assert [point.model.text and point.model.text.layers for point in points] == [1, 3, None, None]
    (shipped,), _ = ask("task=contrastive")
    assert shipped.model.text == TextSpec()
    (usual,), _ = ask()
    assert cell_of(usual).cell_id == cell_of(points[-1]).cell_id, "what is no part of a cell tells none apart"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("model.text.layer=3", "model.text.layer: there is no such key – did you mean layers?"),
        (
            "model.text=[a,b]",
            "model.text: it has keys of its own and is no list; set those: model.text.layers=VALUE, model.text",
        ),
        ("model.text=3", "model.text=3 – must be keys with values"),
        ("model.text.length=2", "model.text.length=2 – must be at least 3"),
        ("model.test.layers=3", "model.test: there is no such key – did you mean text?"),
    ],
)
def test_a_slip_in_its_words_is_answered_with_the_right_ones(ask, word, sentence):
    with pytest.raises(UserError) as told:
        ask("task=contrastive", word)
    assert sentence in str(told.value)


def test_its_keys_are_explained_as_all_others():
    key = explain("model.text.length")
    assert (key.default, key.unit) == ("32", "tokens")
    assert key.meaning.startswith("Tokens of a caption") and "at least 3" in key.takes
