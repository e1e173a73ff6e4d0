"""A file's bytes as a picture: colours of 8 bits, or numbers as they are."""

import importlib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from launchers.atomic import reading
from vit_sweep.data.class_folders import ARRAY
from vit_sweep.data.prepare.source import Picture, Sample, planes_of
from vit_sweep.data.request import Pixels

TIFF = (".tif", ".tiff")
_TIFF_HEADS = (b"II*\0", b"MM\0*")
"""Its first bytes, in either order."""
_BITS, _SAMPLES = 258, 277
"""Tags of a TIFF: bits per sample, samples per pixel."""
_AXES = {"YX": (), "YXS": (2, 0, 1), "SYX": (), "CYX": ()}
"""Axes of a TIFF that are one picture, as tifffile calls them, and the order that brings channels to the front."""


def reader_of_files(*, channels: int | None, pixels: Pixels) -> Callable[[Sample], Picture]:
    """What reads a sample that is a file of its own, as `picture_of` says."""

    def read(sample: Sample) -> Picture:
        with reading(Path(sample.path)) as file:
            return picture_of(file, sample.path, channels=channels, pixels=pixels)

    return read


def picture_of(file: BinaryIO, name: str, *, channels: int | None, pixels: Pixels) -> Picture:
    """The picture in `file`, whose `name` has the suffix of its kind; raises what decoders raise.

    `Pixels.U8`: colours (`channels` 3) or grey (1) of 8 bits. `Pixels.F32`: numbers as they are, (channels, rows,
    columns) float32; of grey pictures, of colours of 8 or 16 bits, of TIFFs and arrays with any number of channels.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix == ARRAY:
        planes = planes_of(np.load(file, allow_pickle=False))
        if pixels is Pixels.U8 and planes.is_floating_point():
            raise ValueError("more than 8 bits a number; keep them with data.pixels=f32")
        return planes.float() if pixels is Pixels.F32 else planes
    if pixels is Pixels.F32:
        return numbers_of(file, suffix, channels)
    image = colours_of(file)
    return image.convert("L") if channels == 1 else image


def colours_of(file: BinaryIO) -> Image.Image:
    """RGB of 8 bits, upright; raises what decoders raise.

    Raises `ValueError` for values without a scale and for several pictures in a file. Of 16 bits the upper 8 are kept;
    Pillow would cut grey values off at 255, which turns nearly all of them white.
    """
    with _opened(file) as image:
        _require_one(image)
        # As Pillow's releases call the grey of such a PNG.
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            grey = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
            return grey.convert("RGB")
        if image.format == "TIFF" and _tag(image, _BITS) > 8 and _tag(image, _SAMPLES) > 1:
            # Pillow takes planes of 16 bits for ones of 8.
            planes = _tiff(file)[:3].numpy().transpose(1, 2, 0)
            return Image.fromarray((planes // 256).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise ValueError("its values have no known range; convert it to 8 bits")
        return ImageOps.exif_transpose(image).convert("RGB")


def _opened(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise ValueError(_what_it_is(file)) from None


def _what_it_is(file: BinaryIO) -> str:
    """Why Pillow knows no picture in it."""
    file.seek(0)
    head = file.read(len(_TIFF_HEADS[0]))
    if head in _TIFF_HEADS:
        return "a TIFF that is damaged, or whose channels are no colours: for these data.channels=N data.pixels=f32"
    return "it is no image that can be decoded" if head else "it is empty"


def numbers_of(file: BinaryIO, suffix: str, channels: int | None) -> Tensor:
    """Float32 (channels, rows, columns) of the values as they are.

    Raises `ValueError` for colours that were asked for as grey.
    """
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        if suffix not in TIFF:
            raise ValueError(_what_it_is(file)) from None
        return _tiff(file)  # of more bands than Pillow knows
    with image:
        if image.format == "TIFF" and channels != 1 and (_tag(image, _SAMPLES) > 1 or image.n_frames > 1):  # type: ignore[attr-defined]
            return _tiff(file)
        if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
            _require_one(image)
            return planes_of(np.array(ImageOps.exif_transpose(image))).float()
        if channels == 1:
            raise ValueError(f"{image.mode} is no grey; convert it, or leave data.pixels=f32 out")
        _require_one(image)
        if image.format != "PNG" or image.mode not in ("RGB", "RGBA"):
            return planes_of(np.array(ImageOps.exif_transpose(image).convert("RGB"))).float()
    file.seek(0)
    values = _package("imagecodecs").png_decode(file.read())
    return planes_of(values.transpose(2, 0, 1)[:3], channels_first=True).float()


def _package(name: str) -> Any:
    """What decodes more than 8 bits; raises `ValueError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(
            f"Pillow would cut its numbers to 8 bits, and {name} is not installed: pip install 'vit_sweep[data]'"
        ) from None


def _tiff(file: BinaryIO) -> Tensor:
    """All channels of the one picture of a TIFF."""
    file.seek(0)
    with _package("tifffile").TiffFile(file) as opened:
        series = opened.series[0]
        if len(opened.series) > 1 or series.axes not in _AXES:
            raise ValueError(f"its axes are {series.axes} {list(series.shape)}; keep the one picture that you mean")
        values = series.asarray()
        order = _AXES[series.axes]
    values = values.transpose(order) if order else values
    return planes_of(values if values.ndim == 3 else values[None], channels_first=True).float()


def deep(file: BinaryIO) -> bool:
    """Whether a picture has more than 8 bits a number, by its head alone; False for what is no picture."""
    head = file.read(26)
    if head.startswith(b"\x89PNG"):
        return head[24:25] == b"\x10"  # IHDR's bit depth, after width and height
    if head[:4] not in _TIFF_HEADS:
        return False
    file.seek(0)
    try:
        with Image.open(file) as image:
            return _tag(image, _BITS) > 8
    except UnidentifiedImageError:
        return False


def _tag(image: Image.Image, tag: int) -> int:
    """The largest value of a TIFF's tag."""
    values = image.tag_v2.get(tag, 1)  # type: ignore[attr-defined]  # a TIFF has it
    return int(max(values) if isinstance(values, tuple) else values)


def _require_one(image: Image.Image) -> None:
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format != "MPO":  # a camera's: its first picture is the photo
        raise ValueError(f"it holds {pictures} pictures; keep the one that you mean")
