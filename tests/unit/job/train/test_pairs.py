"""Captions that are made, tokens, and recall, against truths worked out by hand."""

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from launchers.errors import UserError
from tests.e2e.train.ranks import small_cell
from tests.unit.builders import DATA
from vit_sweep.job.train.images.data import load
from vit_sweep.job.train.model import vision_transformer
from vit_sweep.job.train.pairs.captions import tokens_of
from vit_sweep.job.train.pairs.loss import local_contrastive_loss
from vit_sweep.job.train.pairs.retrieval import recalls, summed_loss
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.choices import DataSource, Task
from vit_sweep.plan.specs import BEGIN, END, VOCABULARY, TextSpec
from vit_sweep.study.code import provenance

pytestmark = pytest.mark.train


def test_tokens_are_the_bytes_between_a_beginning_and_an_end_which_a_long_caption_has_too(capsys):
    tokens = tokens_of(["é!", "", "a long one"], 6).tolist()
    assert tokens[0] == [BEGIN, *"é!".encode(), END, END]
    assert tokens[1] == [BEGIN, *[END] * 5]
    assert tokens[2] == [BEGIN, *b"a lo", END]
    assert "1 caption of 3 longer than model.text.length=6 allows: cut" in capsys.readouterr().err
    assert 1 + max(BEGIN, END) == VOCABULARY and min(BEGIN, END) == 256


def test_each_digit_is_said_and_a_third_of_them_is_thin_and_a_third_bold():
    data = replace(DATA, source=DataSource.DIGITS, train_images=1440, test_images=357, classes=10)
    text = TextSpec(length=28)
    plain, _ = load(data, Path("/nowhere"))
    train, test = load(data, Path("/nowhere"), task=Task.CONTRASTIVE, text=text)
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    captions = [bytes(t for t in row if t < BEGIN).decode() for row in train.labels.tolist()]
    assert [caption.rsplit(" ", 1)[1] for caption in captions] == [words[digit] for digit in plain.labels.tolist()]
    strokes = Counter(caption.split()[1] for caption in captions)
    assert all(abs(count / len(captions) - 1 / 3) < 0.03 for count in strokes.values()), strokes
    assert set(strokes) == {"thin", "handwritten", "bold"}
    ink = plain.images.double().mean(dim=(1, 2, 3))
    thin = torch.tensor([caption.split()[1] == "thin" for caption in captions])
    bold = torch.tensor([caption.split()[1] == "bold" for caption in captions])
    assert ink[thin].max() < ink[bold].min()
    assert {*train.labels[:, -1].tolist(), *test.labels[:, -1].tolist()} == {END}, "none is cut"


def points(*angles):
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles])


def test_recall_counts_captions_word_for_word():
    """Four pictures, of which the first two share a caption: the third finds the first one's, the rest their own."""
    tokens = torch.tensor([[1, 9], [1, 9], [2, 9], [3, 9]])
    answers = torch.cat([10 * points(0.0, 0.1, 0.4, 3.0), points(0.0, 0.0, 1.5, 3.1)], dim=1)
    assert recalls(answers, tokens) == {"image_to_text": 3 / 4, "text_to_image": 1.0}
    # Now the nearest picture of the second caption is the last one.
    moved = torch.cat([10 * points(0.0, 0.1, 0.4, 1.6), points(0.0, 0.0, 1.5, 3.1)], dim=1)
    assert recalls(moved, tokens) == {"image_to_text": 2 / 4, "text_to_image": 2 / 3}


def test_the_loss_is_that_of_the_formula_and_of_a_split_the_sum_over_blocks():
    answers = torch.cat([2 * points(0.0, 1.0, 2.0), points(0.1, 0.9, 2.5)], dim=1)
    images, captions = answers.chunk(2, dim=1)
    logits = (images @ captions.T).double()
    both = [(m.logsumexp(dim=1) - m.diag()).mean() for m in (logits, logits.T)]
    assert float(local_contrastive_loss(answers, answers, first=0)) == pytest.approx(float(sum(both) / 2), rel=1e-5)
    parts = [local_contrastive_loss(answers[k : k + 1], answers, first=k) for k in range(3)]
    assert float(sum(parts) / 3) == pytest.approx(float(local_contrastive_loss(answers, answers, first=0)), rel=1e-5)
    blocks = 2 * float(
        local_contrastive_loss(answers[:2], answers[:2], first=0)
    )  # the last pair alone has nothing to be told from
    assert summed_loss(answers, batch=2) == pytest.approx(blocks, rel=1e-5)
    assert summed_loss(answers, batch=64) == pytest.approx(
        3 * float(local_contrastive_loss(answers, answers, first=0)), rel=1e-5
    )


def test_without_transformers_a_rank_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    cell = small_cell(task=Task.CONTRASTIVE)
    with pytest.raises(JobError, match=r"pip install 'vit_sweep\[contrastive\]'"):
        vision_transformer(replace(cell, model=replace(cell.model, text=TextSpec())))


def test_a_sweep_says_before_it_submits_what_its_task_lacks(monkeypatch):
    monkeypatch.setattr(provenance, "_is_absent", lambda name: True)
    words = "task=contrastive: transformers not installed here: pip install 'vit_sweep[contrastive]'"
    with pytest.raises(UserError, match=re.escape(words)):
        provenance.require_tasks([Task.CLASSIFICATION, Task.CONTRASTIVE])
    provenance.require_tasks({*Task} - {Task.CONTRASTIVE})
