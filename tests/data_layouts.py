"""Small data sets in the layouts that people publish, with planted truths: for tests of what reads them."""

import io
import zlib
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


def deep_files(number, kind):
    """A disc or a ring in the lower byte of 16 bits, which 8 bits would lose, in one of three kinds of files."""
    values = 20_480 + picture(kind, number=number).astype(np.uint16)  # 80 x 256, and at most 240
    match number // 2 % 3:
        case 0:
            return {"png": png_of_16_bits(values)}
        case 1:
            import tifffile

            file = io.BytesIO()
            tifffile.imwrite(file, values, photometric="rgb")
            return {"tif": file.getvalue()}
        case _:
            return {"npy": values}


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


def idx(values):
    """Bytes in the format of MNIST's files, compressed as they are published."""
    import gzip
    import struct

    head = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}i", *values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def medmnist(path, *, train=24, test=8, labels=None, side=28, colours=1, **changes):
    """A file of MedMNIST: `savez` of images and labels by split; `labels`: function of the number."""
    made = {}
    for split, first, count in (("train", 0, train), ("val", 900, 4), ("test", train, test)):
        numbers = range(first, first + count)
        images = np.array([picture(n % 2, number=n, side=side, colours=colours) for n in numbers], dtype=np.uint8)
        made[f"{split}_images"] = images[..., 0] if colours == 1 else images
        made[f"{split}_labels"] = np.array([labels(n) if labels else [n % 2] for n in numbers], dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: value for name, value in (made | changes).items() if value is not None})
    return path


ACTIONS = ("grab_blue", "place_blue_on_red", "move_to_home")


def costar_film(path, *, number=0, frames=6, **changes):
    """A film of CoSTAR's as its collector writes it: a list of JPEGs, depths as PNGs, actions and poses."""
    import h5py

    actions = np.arange(frames) % len(ACTIONS)
    pictures = [picture(n % 2, number=100 * number + n) for n in range(frames)]
    made = {
        "image": np.array([encoded(each) for each in pictures]),
        "depth_image": np.array([encoded(each, "PNG") for each in pictures]),
        "label": actions,
        "labels_to_name": np.array([name.encode() for name in ACTIONS]),
        "gripper": np.linspace(0.055, 0.6, frames),
        "pose": np.random.default_rng(number).normal(size=(frames, 7)),
        "nsecs": np.zeros(frames),
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in made.items():
            file.create_dataset(name, data=values)
    return path


def costar(folder, films=6):
    """So many films, the last one without a frame, as it happens after an error."""
    for number in range(films):
        costar_film(folder / f"2018-05-29-15-00-{number:02}_example{number:06}.success.h5f", number=number)
    empty = {name: np.zeros(0, dtype="S1") for name in ("image", "depth_image")} | {"label": np.zeros(0, dtype=int)}
    costar_film(folder / "2018-06-04-10-01-33_example000001.error.failure.h5f", frames=1, **empty)
    return folder


def gtdb(folder, articles=4, pages=3, size=(60, 80)):
    """Articles of GTDB and the scans of their pages: the more mathematics, the darker."""
    from PIL import Image

    width, height = size
    for article in range(articles):
        name = f"AIF_19{70 + article}_20_493"
        lines = ["Infty GT-Data Format Ver.1.1"]
        for page in range(1, pages + 1):
            math, text = article + page, 4
            lines += [f"Sheet,{page},{name}_{page}.png,-1", f"Text,1,6,8,{width - 6},{height - 8}", "Line,1,6,8,50,12"]
            lines += [
                f"Chardata,{n},{6 + n},8,{8 + n},12,{int(n > text)},0,{n - 1},0141" for n in range(1, 1 + text + math)
            ]
            (folder / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", size, 250 - 20 * math).save(folder / "images" / name / f"{name}_{page}.png")
        (folder / f"{name}.csv").write_text("\r\n".join(lines) + "\r\n")
    return folder


def png_of_16_bits(pixels):
    """The bytes of a PNG that Pillow cannot write: uint16 (height, width, 3)."""

    def chunk(kind, content):
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    height, width, _ = pixels.shape
    head = width.to_bytes(4) + height.to_bytes(4) + bytes([16, 2, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
