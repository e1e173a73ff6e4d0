"""Small data sets in the layouts that people publish, with planted truths: for tests of what reads them."""

import io
from pathlib import Path

import numpy as np

CLASSES = ("disc", "ring")


def picture(kind, *, number, side=32, colours=3):
    """A disc (0) or a ring (1) under noise: uint8 (side, side, colours)."""
    noise = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(rows, columns) / (side / 2)
    shape = (radius < 0.6) if kind == 0 else (abs(radius - 0.7) < 0.15)
    grey = 160 * shape + 80 * noise.random((side, side))
    return np.repeat(grey[..., None], colours, axis=2).astype(np.uint8)


def encoded(pixels, kind="JPEG"):
    """The bytes of an image file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.squeeze(pixels)).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


def shards(folder, *, train=24, val=8, per_shard=8, **fields):
    """train-*.tar and val-*.tar as webdataset's own writer makes them: JPEG, class, object, caption and number.

    `fields`: {suffix: function of the number and the class}, beside or instead of these.
    """
    from webdataset import TarWriter

    folder.mkdir(parents=True, exist_ok=True)
    for split, first, count in (("train", 0, train), ("val", train, val)):
        for begin in range(0, count, per_shard):
            with TarWriter(str(folder / f"{split}-{begin // per_shard:06}.tar")) as writer:
                for number in range(first + begin, first + min(begin + per_shard, count)):
                    kind = number % 2
                    given = {
                        "jpg": encoded(picture(kind, number=number)),
                        "cls": kind,
                        "json": {"label": CLASSES[kind], "both": [kind, 1 - kind]},
                        "txt": f"a {CLASSES[kind]} among noise",
                    } | {suffix: make(number, kind) for suffix, make in fields.items()}
                    kept = {suffix: value for suffix, value in given.items() if value is not None}
                    writer.write({"__key__": f"{number:06}", **kept})
    return Path(folder)


def tables(folder, *, saved=True, train=24, test=8, **columns):
    """A `DatasetDict` as datasets' own writers save it, two files of each split; or as Parquet, named as on the Hub."""
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(CLASSES)),
            "tags": datasets.List(datasets.ClassLabel(names=["round", "hollow"])),
            "size": datasets.Value("float32"),
            "caption": datasets.Value("string"),
            "plane": datasets.Array2D(shape=(8, 8), dtype="float32"),
        }
    )

    def row(number):
        kind = number % 2
        given = {
            "image": {"bytes": encoded(picture(kind, number=number)), "path": f"{number}.jpg"},
            "label": kind,
            "tags": [0, 1][: kind + 1],
            "size": number / 4,
            "caption": f"a {CLASSES[kind]}",
            "plane": np.full((8, 8), 1e-3 * number, dtype=np.float32),
        }
        return given | {name: make(number, kind) for name, make in columns.items()}

    splits = {"train": range(train), "test": range(train, train + test)}
    made = {
        name: datasets.Dataset.from_list([row(number) for number in numbers], features=features)
        for name, numbers in splits.items()
        if numbers
    }
    if saved:
        datasets.DatasetDict(made).save_to_disk(str(folder), num_shards=dict.fromkeys(made, 2))
        return folder
    (folder / "data").mkdir(parents=True)
    for name, split in made.items():
        for shard in range(2):
            part = split.shard(2, shard, contiguous=True)
            part.to_parquet(str(folder / "data" / f"{name}-{shard:05}-of-00002.parquet"), batch_size=5)
    return folder
