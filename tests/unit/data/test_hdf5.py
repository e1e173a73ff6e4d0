"""Images in HDF5: read lazily into the packed form, with their labels, refused in words that name file and dataset."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from launchers.errors import UserError
from tests.hdf5_files import ACQUISITIONS, fastmri, write
from tests.unit.data.packing import loaded, pack, refusal
from vit_sweep.data import datasets
from vit_sweep.data.request import Corrupt, command_of, kind_of, request_of
from vit_sweep.plan.choices import Task

pytestmark = pytest.mark.train

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
LABELS = np.arange(12) % 3


def request(path, **changes):
    return request_of({"source": "hdf5", "path": str(path), "channels": None} | changes)


def fast(path, **changes):
    defaults = {"images": "reconstruction_rss", "labels": "acquisition", "side": None, "name": "fastmri"}
    return request(path, **(defaults | changes))


@pytest.mark.parametrize("workers", [0, 2])
def test_slices_are_packed_as_they_are_with_their_labels(tmp_path, root, workers):
    images_request = request(write(tmp_path / "set.h5", images=GREY, labels=LABELS), split=0.25)
    assert any("3 of 12 images are put apart" in line for line in pack(images_request, root, workers))
    train, test = loaded(images_request, root)
    pairs = [pair for split in (train, test) for pair in zip(split.images, split.labels, strict=True)]
    loaded_pairs = sorted((int(label), image.numpy().tobytes()) for image, label in pairs)
    assert loaded_pairs == sorted((int(label), image.tobytes()) for image, label in zip(GREY, LABELS, strict=True))
    assert (len(test.labels), train.images.shape[1:], train.levels) == (3, (1, 8, 8), None)
    assert sorted(test.labels.tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("images", "channels"),
    [
        (GREY.astype(np.float32)[:, None].repeat(5, 1), 5),
        (GREY[..., None].repeat(3, 3), 3),
        (GREY.astype(np.uint16) * 200, 1),
        (GREY.astype(np.float64) * 1e-10 - 3e-9, 1),
    ],
)
def test_any_numbers_and_channels_reach_the_model_with_mean_0_and_deviation_1(tmp_path, root, images, channels):
    """Those of 8 bits as ever, -1 to 1; the numbers of the file are in the packed form to float32's last bit."""
    import torch

    from vit_sweep.job.train.images.data import prepare

    images_request = request(write(tmp_path / "set.h5", images=images, labels=LABELS))
    pack(images_request, root)
    train, _ = loaded(images_request, root)
    spec = datasets.packed_spec(images_request, root)
    assert (spec.channels, train.images.shape[1]) == (channels, channels)
    assert spec.image_bytes == train.images[0].numpy().nbytes
    ready = prepare(train.images, (8, 8), torch.float32, train.levels)
    if images.dtype == np.uint8:
        assert torch.equal(ready, train.images / 127.5 - 1)
        return
    assert np.isin(train.images.numpy(), images.astype(np.float32)).all()
    assert ready.mean((0, 2, 3)).numpy() == pytest.approx(np.zeros(channels), abs=1e-5)
    assert ready.std((0, 2, 3), correction=0).numpy() == pytest.approx(np.ones(channels), abs=1e-4)
    # Small numbers do not vanish where weights have 16 bits.
    assert prepare(train.images, (8, 8), torch.float16, train.levels).float().std() == pytest.approx(1, abs=1e-2)


def test_labels_and_numbers_are_targets_by_their_type_or_as_told(tmp_path, root):
    there, ages = RNG.integers(0, 2, (12, 4)), RNG.normal(50, 9, 12)
    path = write(tmp_path / "set.h5", images=GREY, there=there, ages=ages, labels=LABELS)
    for number, (changes, task, wanted) in enumerate(
        [
            ({"labels": "there"}, Task.MULTILABEL, there),
            ({"labels": "ages"}, Task.REGRESSION, ages[:, None]),
            ({"labels": "labels", "targets": "regression"}, Task.REGRESSION, LABELS[:, None]),
        ]
    ):
        images_request = request(path, name=f"set{number}", **changes)
        pack(images_request, root)
        spec = datasets.packed_spec(images_request, root)
        assert (spec.targets, spec.outputs(task), spec.tasks) == (task, wanted.shape[1], (task,))
        train, test = loaded(images_request, root, task)
        numbers = np.concatenate([split.labels.numpy() for split in (train, test)])
        if task is Task.REGRESSION:
            numbers = numbers * train.units.scale.numpy() + train.units.offset.numpy()
        assert np.sort(numbers, axis=0) == pytest.approx(np.sort(wanted, axis=0), abs=1e-4)


def test_frames_that_are_jpegs_are_decoded(tmp_path, root):
    import h5py
    from PIL import Image

    frames = []
    for shade in range(0, 240, 20):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 12), (shade, 100, 50)).save(buffer, "JPEG", quality=95)
        frames.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
    with h5py.File(tmp_path / "set.h5f", "w") as file:
        images = file.create_dataset("image", (12,), dtype=h5py.vlen_dtype(np.uint8))
        for number, frame in enumerate(frames):
            images[number] = frame
        file["labels"] = np.linspace(0, 1, 12)
    images_request = request(tmp_path / "set.h5f", images="image")
    pack(images_request, root)
    train, test = loaded(images_request, root, Task.REGRESSION)
    assert train.images.shape[1:] == (3, 12, 16)
    assert sorted(int(image[0].float().mean().round()) for s in (train, test) for image in s.images) == pytest.approx(
        range(0, 240, 20), abs=2
    )


# --- fastMRI's layout ----------------------------------------------------------------------------------------


def test_a_volume_is_one_patient_and_stays_on_one_side(tmp_path, root):
    """Without files put apart whole volumes are, some of each contrast; slices of one volume are alike."""
    import h5py

    folder = fastmri(tmp_path / "multicoil_train", train=8, val=0) / "multicoil_train"
    images_request = fast(folder, split=0.25)
    pack(images_request, root)
    train, test = loaded(images_request, root)
    assert (len(train.labels), len(test.labels)) == (6 * 6, 2 * 6)
    assert sorted(test.labels.tolist()) == [0] * 6 + [1] * 6
    apart = {image.numpy().tobytes() for image in test.images}
    for volume in folder.glob("*.h5"):
        with h5py.File(volume) as file:
            slices = {picture.tobytes() for picture in file["reconstruction_rss"][()]}
        assert slices <= apart or not slices & apart
    spec = datasets.packed_spec(images_request, root)
    assert tuple(datasets.manifest_of(spec, root).classes) == tuple(sorted(ACQUISITIONS))


def test_k_space_gives_the_pictures_that_were_transformed(tmp_path, root):
    folder = fastmri(tmp_path / "knees", train=4, val=2)
    ready = []
    for name in ("reconstruction_rss", "kspace"):
        images_request = fast(folder, images=name, name=name)
        pack(images_request, root)
        ready.append(loaded(images_request, root)[0])
    assert ready[1].images.numpy() == pytest.approx(ready[0].images.numpy(), abs=1e-9)
    assert ready[0].images.max() > 1e-5
    assert ready[0].labels.tolist() == ready[1].labels.tolist()


def test_an_attribute_can_be_the_number_to_learn(tmp_path, root):
    images_request = fast(fastmri(tmp_path / "knees", train=4, val=2), labels="max")
    pack(images_request, root)
    train, _ = loaded(images_request, root, Task.REGRESSION)
    volumes = train.images.reshape(4, 6, -1)
    largest = (train.labels.double() * train.units.scale + train.units.offset).reshape(4, 6)
    assert largest.numpy() == pytest.approx(volumes.amax((1, 2))[:, None].expand(4, 6).numpy(), rel=1e-5)


# --- refusals ------------------------------------------------------------------------------------------------


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_file_that_is_cut_short_is_named_or_left_out(tmp_path, root):
    folder = fastmri(tmp_path / "knees", train=6, val=2)
    lost = folder / "multicoil_train" / "file1003.h5"
    cut(lost)
    message = refusal(fast(folder), root)
    assert (
        f"1 of 6 files cannot be used: {lost} (" in message
        and "it is cut short" in message
        and "corrupt=skip" in message
    )
    lines = pack(fast(folder, corrupt="skip"), root)
    assert any("left out" in line and str(lost) in line for line in lines)
    assert datasets.packed_spec(fast(folder, corrupt="skip"), root).train_images == 5 * 6


def test_a_picture_that_is_damaged_or_holds_no_numbers_is_named_by_its_place(tmp_path, root):
    import h5py

    images = GREY.astype(np.float32)
    images[7, 2, 3] = np.nan
    path = write(tmp_path / "set.h5", images=images, labels=LABELS)
    assert f"{path}[7] (not finite: 1 value)" in refusal(request(path), root)
    lines = pack(request(path, corrupt="skip"), root)
    assert any("left out" in line and f"{path}[7]" in line for line in lines)

    packed = tmp_path / "packed.h5"
    with h5py.File(packed, "w") as file:
        stored = file.create_dataset("images", data=GREY, chunks=(1, 8, 8), compression="gzip")
        file["labels"] = LABELS
        place = stored.id.get_chunk_info(5).byte_offset
    content = bytearray(packed.read_bytes())
    content[place : place + 8] = b"\0" * 8
    packed.write_bytes(content)
    again = root.with_name("root2")
    assert f"1 of 12 files cannot be packed: {packed}[5] (" in refusal(request(packed), again)


@pytest.mark.parametrize(
    ("arrays", "changes", "words"),
    [
        ({"pictures": GREY, "labels": LABELS}, {}, ["has no dataset images", "pictures uint8 [12, 8, 8]"]),
        ({"images": GREY}, {}, ["no dataset or attribute labels", "[12, 8, 8]"]),
        ({"images": GREY, "labels": LABELS[:5]}, {}, ["dataset labels has 5 labels for 12 images of dataset images"]),
        ({"images": GREY[:0], "labels": LABELS[:0]}, {}, ["dataset images is empty"]),
        ({"images": GREY[0], "labels": LABELS}, {}, ["dataset images is uint8 [8, 8]", "[n, rows, columns]"]),
        ({"images": GREY, "labels": LABELS - 1}, {}, ["labels[0] is -1", "classes are whole numbers from 0"]),
        ({"images": GREY, "labels": LABELS}, {"classes": 2}, ["labels[2] is 2", "4 labels of 12 are so"]),
        ({"images": GREY, "labels": LABELS * 85}, {}, ["goes from 0 to 170, but has 3 values", "data.classes=171"]),
        ({"images": GREY, "labels": LABELS * 0}, {}, ["labels is 0 for all images", "one class is nothing to learn"]),
        ({"images": GREY, "labels": np.stack([LABELS, LABELS], 1)}, {}, ["labels[2, 0] is 2", "labels are 0 or 1"]),
        ({"images": GREY, "labels": np.where(LABELS, np.nan, 0.5)}, {}, ["numbers are finite", "targets=regression"]),
        ({"images": GREY, "labels": LABELS + 0.5}, {"targets": "classification"}, ["labels[0] is 0.5"]),
        ({"images": GREY, "labels": LABELS}, {"channels": 3}, ["12 of 12 files cannot be packed", "1 channel, not 3"]),
    ],
)
def test_another_layout_is_refused_by_file_and_dataset(tmp_path, root, arrays, changes, words):
    path = write(tmp_path / "set.h5", **arrays)
    message = refusal(request(path, **changes), root)
    assert (message.startswith("data=set: ") and str(path) in message) or "goes from" in message
    for word in words:
        assert word in message, message


def test_what_is_at_the_path_is_said_where_it_is_no_hdf5(tmp_path, root):
    assert "is not there" in refusal(request(tmp_path / "nothing"), root)
    (tmp_path / "empty").mkdir()
    assert "holds no HDF5 file" in refusal(request(tmp_path / "empty"), root)
    (tmp_path / "page.h5").write_text("please log in")
    assert "it is no HDF5 file: Unable to" in refusal(request(tmp_path / "page.h5"), root)
    both = fastmri(tmp_path / "both", train=2, val=1)
    (both / "singlecoil_train").mkdir()
    assert "multicoil_train, singlecoil_train: which of them is the train split" in refusal(fast(both), root)


def test_sizes_that_differ_need_a_side(tmp_path, root):
    write(tmp_path / "set" / "a.h5", images=GREY, labels=LABELS)
    write(tmp_path / "set" / "b.h5", images=GREY[:, :6], labels=LABELS)
    assert "not 8 x 8 pixels as the first one" in refusal(request(tmp_path / "set"), root)
    images_request = request(tmp_path / "set", side=4)
    pack(images_request, root)
    assert loaded(images_request, root)[0].images.shape[1:] == (1, 4, 4)


def test_the_command_that_packs_it_says_every_word(tmp_path, root):
    images_request = fast(tmp_path / "knees", side=320, corrupt="skip")
    command = command_of(images_request, root)
    for word in ("data prepare hdf5", "data.channels=null", "data.images=reconstruction_rss", "data.corrupt=skip"):
        assert word in command
    (tmp_path / "knees").mkdir()
    with pytest.raises(UserError, match="pack them: vit_sweep data prepare hdf5"):
        datasets.packed_spec(images_request, root)


def test_a_path_to_hdf5_is_known_by_its_suffix(tmp_path):
    path = write(tmp_path / "a" / "set.h5", images=GREY)
    assert [kind_of(str(place)).value for place in (path, path.parent, tmp_path)] == ["hdf5", "hdf5", "hdf5"]
    assert kind_of(str(tmp_path / "leaves")).value == "imagefolder"


def test_changed_files_are_packed_anew(tmp_path, root):
    path = write(tmp_path / "set.h5", images=GREY, labels=LABELS)
    pack(request(path), root)
    before = json.loads(next(root.glob("set-packed-*/manifest.json")).read_text())["files"]
    write(path, images=GREY[::-1], labels=LABELS)
    pack(request(path), root)
    assert json.loads(next(root.glob("set-packed-*/manifest.json")).read_text())["files"] != before
    assert replace(request(path), corrupt=Corrupt.SKIP) != request(path)
