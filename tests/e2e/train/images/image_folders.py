"""Small folders of real pictures, as people have them: JPEG and PNG, of many sizes, in class folders."""

from dataclasses import replace

from tests.unit.builders import DATA
from vit_sweep.plan.choices import DataSource

CLASSES = ("china", "flower")


def spec(name="photos", train_images=24, test_images=8, side=16, **changes):
    """What a site's YAML would say of `make(root, name, ...)`."""
    defaults = {"classes": 2, "source": DataSource.IMAGEFOLDER, "side": side}
    return replace(DATA, name=name, train_images=train_images, test_images=test_images, **(defaults | changes))


def make(root, name="photos", train_images=24, test_images=8):
    """Cut two photographs into pieces below ROOT/NAME/{train,val}/CLASS; returns ROOT/NAME."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pictures = dict(zip(CLASSES, load_sample_images().images, strict=True))
    for folder, count in (("train", train_images), ("val", test_images)):
        for i in range(count):
            name_of_class = CLASSES[i % 2]
            place = root / name / folder / name_of_class
            place.mkdir(parents=True, exist_ok=True)
            top, left = 13 * i % 300, 29 * i % 500
            height, width = (40, 50 + i) if i % 3 else (64 + i, 40)
            piece = Image.fromarray(pictures[name_of_class][top : top + height, left : left + width])
            piece.save(place / f"{folder}_{i:03}.{'png' if i % 4 == 0 else 'JPEG'}")
    return root / name
