"""The packed form on paper: where it lies, and when it is not the one that was asked for."""

from dataclasses import replace

import pytest

from tests.unit.builders import DATA
from vit_sweep.data.packed import Manifest, PackedFile, disagreement, folder_of, is_packed
from vit_sweep.plan.choices import DataSource

PHOTOS = replace(DATA, name="photos", source=DataSource.IMAGEFOLDER, train_images=4, test_images=2, classes=2, side=8)
MANIFEST = Manifest(
    data="photos",
    side=8,
    train_images=4,
    test_images=2,
    classes=("cat", "dog"),
    files=(PackedFile(name="train.images.u8", bytes=768, sha256="0" * 64),),
)


def test_only_image_folders_are_packed():
    assert is_packed(PHOTOS)
    assert not is_packed(DATA)


def test_another_side_is_another_folder():
    assert folder_of(PHOTOS) == "photos-packed-8"
    assert folder_of(replace(PHOTOS, side=None)) == "photos-packed-as_is"


def test_a_manifest_of_what_was_asked_agrees():
    assert disagreement(PHOTOS, MANIFEST) is None
    assert disagreement(replace(PHOTOS, side=None), MANIFEST) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": 5}, "train_images 4, the YAML says 5"),
        ({"test_images": 3}, "test_images 2, the YAML says 3"),
        ({"classes": 10}, "classes 2, the YAML says 10"),
        ({"side": 16}, "side 8, the YAML says 16"),
    ],
)
def test_a_disagreement_says_both_numbers(changes, message):
    assert message in disagreement(replace(PHOTOS, **changes), MANIFEST)
