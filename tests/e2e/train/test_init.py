"""Weights from a file: the same model, positions of another image size resampled, files that do not fit in words."""

from dataclasses import replace

import pytest

from launchers.errors import UserError
from tests.e2e.train.ranks import Job, small_cell
from tests.unit.builders import point
from vit_sweep.config.models import with_init
from vit_sweep.plan.choices import Pool, Task

pytestmark = pytest.mark.train

SPEC = small_cell().model


def saved(path, *, seed=7, **changes):
    """A file of the small model with other weights, the head's among them."""
    import torch
    from safetensors.torch import save_file

    from vit_sweep.job.train.model import vision_transformer

    model = vision_transformer(small_cell(seed=seed, **changes))
    torch.nn.init.normal_(model.heads.head.weight)
    save_file(model.state_dict(), path)
    return model


def planned(path, **changes):
    """The small cell that begins with the file, as a sweep plans it."""
    model = changes.pop("model", SPEC)
    (ready,) = with_init([point(model=replace(model, init=str(path)))])
    return small_cell(model=ready.model, **changes)


def answers(cell_or_model, side=16):
    import torch

    from vit_sweep.job.train.model import vision_transformer

    is_model = isinstance(cell_or_model, torch.nn.Module)
    model = cell_or_model if is_model else vision_transformer(cell_or_model)
    with torch.no_grad():
        return model.eval()(torch.linspace(-1, 1, 2 * 3 * side * side).reshape(2, 3, side, side))


def test_a_model_begins_with_the_files_weights_and_answers_as_that_one_did(tmp_path):
    before = saved(tmp_path / "w.safetensors")
    cell = planned(tmp_path / "w.safetensors")
    assert answers(cell) == pytest.approx(answers(before))
    assert answers(cell) != pytest.approx(answers(small_cell()))
    assert cell.cell_id != small_cell().cell_id


def test_weights_of_timm_give_what_timm_answers(tmp_path):
    import timm
    import torch
    from safetensors.torch import save_file

    theirs = timm.models.VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=32,
        depth=SPEC.layers,
        num_heads=SPEC.heads,
        mlp_ratio=2,
        num_classes=4,
    )
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.normal_(std=0.3)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    assert answers(planned(tmp_path / "w.safetensors")) == pytest.approx(answers(theirs), rel=1e-3, abs=1e-3)


def test_positions_lie_where_they_lay_in_the_image():
    """A plane over the image is the same plane on any grid, but for its rim, and its class token is not touched."""
    import torch

    from vit_sweep.job.train.models.init import resampled

    def plane(rows, columns):
        y, x = ((torch.arange(n) + 0.5) / n for n in (rows, columns))
        return torch.stack(torch.meshgrid(3 * y - 1, 5 * x + 2, indexing="ij"), dim=-1).reshape(1, rows * columns, 2)

    for before, after in (((8, 8), (16, 16)), ((8, 8), (12, 20)), ((16, 16), (8, 8))):
        resampled_values, right = (
            grid.unflatten(1, after)[:, after[0] // 4 : -(after[0] // 4), after[1] // 4 : -(after[1] // 4)]
            for grid in (resampled(plane(*before), before, after), plane(*after))
        )
        assert resampled_values == pytest.approx(right, abs=0.01)
    noise = torch.randn(1, 64, 3)
    assert torch.equal(resampled(noise, (8, 8), (8, 8)), noise)


@pytest.mark.parametrize("pool", list(Pool))
def test_another_image_size_number_of_outputs_and_pooling_begin_with_what_fits(tmp_path, pool):
    import torch

    from vit_sweep.job.train.model import vision_transformer
    from vit_sweep.job.train.models.init import resampled

    before = saved(tmp_path / "w.safetensors")
    cell = planned(
        tmp_path / "w.safetensors", model=replace(SPEC, image_size=(32, 24), pool=pool), task=Task.REGRESSION
    )
    model = vision_transformer(cell)
    positions, first = model.encoder.pos_embedding.detach(), int(pool is Pool.CLASS)
    were = before.encoder.pos_embedding.detach()
    assert torch.equal(positions[:, :first], were[:, :first])
    assert torch.equal(positions[:, first:], resampled(were[:, 1:], (4, 4), (8, 6)))
    assert torch.equal(model.conv_proj.weight, before.conv_proj.weight)
    drawn = vision_transformer(replace(cell, model=replace(cell.model, init=None)))
    assert torch.equal(model.heads.head.weight, drawn.heads.head.weight)


def test_ranks_train_on_from_the_files_weights(tmp_path):
    """Two ranks that share the tokens as well: the first epoch begins where the file's training ended."""
    saved(tmp_path / "w.safetensors")
    losses = {}
    for name, changes in {"alone": {}, "shared": {"gpus": 2, "sequence": 2, "micro_batch": 8}}.items():
        job = Job(tmp_path / name, planned(tmp_path / "w.safetensors", epochs=1, **changes))
        assert job.run() == [0] * job.cell.gpus, job.log()
        losses[name] = job.json("record.json")["epochs"][0]["train_loss"]
    assert losses["shared"] == pytest.approx(losses["alone"], rel=1e-4)
    cell = planned(tmp_path / "w.safetensors")
    saved(tmp_path / "w.safetensors", seed=8)
    job = Job(tmp_path / "other", cell)
    assert job.run() == [1]
    assert "is not the file that was planned" in job.end()["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 5}, ["2 encoder blocks, this model 5", "use model.layers=2"]),
        ({"patch_size": 8}, ["conv_proj.weight is 32 x 3 x 4 x 4 there and 32 x 3 x 8 x 8 here"]),
        ({"channels": 1}, ["32 x 3 x 4 x 4 there and 32 x 1 x 4 x 4 here", "number of channels"]),
        ({"mlp_width": 128}, ["mlp.0.weight is 64 x 32 there and 128 x 32 here"]),
        ({"target": "timm", "name": "vit_tiny_patch16_224"}, ["timm builds this model", "leave it out"]),
    ],
)
def test_a_file_of_another_model_is_refused_with_both_shapes(tmp_path, changes, words):
    saved(tmp_path / "w.safetensors")
    with pytest.raises(UserError) as raised:
        planned(tmp_path / "w.safetensors", model=replace(SPEC, **({"layers": 2} | changes)))
    assert all(word in str(raised.value) for word in words), raised.value


def test_what_is_no_such_file_is_a_sentence(tmp_path):
    import torch
    from safetensors.torch import save_file

    saved(tmp_path / "w.safetensors", model=replace(SPEC, image_size=(32, 16)))
    for path, sentence in {
        "nothing": "cannot be read",
        "cut": "no whole safetensors file",
        "names": "named neither",
    }.items():
        place = tmp_path / path
        if path == "cut":
            place.write_bytes((tmp_path / "w.safetensors").read_bytes()[:1000])
        if path == "names":
            save_file({"weight": torch.zeros(2)}, place)
        with pytest.raises(UserError, match=sentence):
            planned(place)
    with pytest.raises(UserError, match="32 patches are neither those of 16 px nor of any square"):
        planned(tmp_path / "w.safetensors")
