"""Image files as numbers: what they hold beyond 8 bits is kept where it is asked for, and told where it is not."""

import io

import numpy as np
import pytest

from launchers.errors import UserError
from tests.data_layouts import png_of_16_bits
from vit_sweep.data.request import Pixels, request_of

pytestmark = pytest.mark.train

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)
SHALLOW = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def tiff(values, **options):
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def numbers(content, suffix, channels=3):
    """(channels, rows, columns) as they are packed with data.pixels=f32."""
    from vit_sweep.data.prepare.decode import picture_of

    return picture_of(io.BytesIO(content), f"image{suffix}", channels=channels, pixels=Pixels.F32).numpy()


def png_of_8_bits(values):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def as_npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


COLOURS = {
    "png": lambda values: png_of_16_bits(values) if values.dtype == np.uint16 else png_of_8_bits(values),
    "tif": lambda values: tiff(values, photometric="rgb"),
    "lzw.tif": lambda values: tiff(values, photometric="rgb", compression="lzw"),
    "deflated.tif": lambda values: tiff(values, photometric="rgb", compression="zlib"),
    "planes.tif": lambda values: tiff(values.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    "big_endian.tif": lambda values: tiff(values, photometric="rgb", byteorder=">"),
    "npy": as_npy,
}


@pytest.mark.parametrize("values", [DEEP, SHALLOW], ids=["16 bits", "8 bits"])
@pytest.mark.parametrize("kind", COLOURS)
def test_colours_keep_every_number(kind, values):
    decoded = numbers(COLOURS[kind](values), f".{kind.split('.')[-1]}")
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded.transpose(1, 2, 0), values)


@pytest.mark.parametrize("kind", [kind for kind in COLOURS if kind != "npy"])
def test_without_that_they_are_the_upper_8_bits_however_they_are_stored(kind):
    from vit_sweep.data.prepare.decode import colours_of

    decoded = np.asarray(colours_of(io.BytesIO(COLOURS[kind](DEEP))))
    assert np.array_equal(decoded, DEEP // 256)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack", "planarconfig": "separate"},
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "photometric": "minisblack", "metadata": {"axes": "CYX"}},
    ],
    ids=["planes", "imagej", "ome"],
)
def test_a_tiff_of_many_channels_keeps_them(options):
    values = RNG.random((5, 6, 7)).astype(np.float32)
    assert np.array_equal(numbers(tiff(values, **options), ".tif", None), values)


def test_a_tiff_of_many_channels_says_which_words_keep_them_and_an_empty_file_that_it_is():
    from vit_sweep.data.prepare.decode import colours_of

    many = tiff(np.zeros((5, 6, 7), np.uint16), photometric="minisblack", planarconfig="separate")
    with pytest.raises(ValueError, match=r"these data\.channels=N data\.pixels=f32"):
        colours_of(io.BytesIO(many))
    for content, reason in ((b"", "it is empty"), (b"<html>", "it is no image")):
        with pytest.raises(ValueError, match=reason):
            colours_of(io.BytesIO(content))
        with pytest.raises(ValueError, match=reason):
            numbers(content, ".png")


def test_a_stack_of_times_and_pages_of_unlike_sizes_are_no_one_picture():
    times = tiff(np.zeros((4, 6, 7), np.uint16), imagej=True, metadata={"axes": "TYX"})
    pages = io.BytesIO()
    import tifffile

    with tifffile.TiffWriter(pages) as writer:
        for side in (4, 5):
            writer.write(np.zeros((side, side, 3), np.uint16), photometric="rgb")
    for content in (times, pages.getvalue()):
        with pytest.raises(ValueError, match="keep the one"):
            numbers(content, ".tif")


@pytest.mark.parametrize("kind", ["png", "tif", "planes.tif"])
def test_that_numbers_are_brought_to_8_bits_is_said(tmp_path, kind):
    from vit_sweep.data.prepare.pack import pack

    for values, is_reported in ((DEEP, True), (SHALLOW, False)):
        folder = tmp_path / f"{values.dtype}"
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
            for number in range(2):
                (folder / name / f"{number}.{kind.split('.')[-1]}").write_bytes(COLOURS[kind](values))
        lines = []
        images_request = request_of({"source": "imagefolder", "path": str(folder), "side": None})
        pack(images_request, tmp_path / "root", lines.append, workers=0)
        assert any("brought to 8; data.pixels=f32 keeps them" in line for line in lines) is is_reported


def test_without_tifffile_the_sentence_names_the_extra(tmp_path, monkeypatch):
    import sys

    from vit_sweep.data.prepare.pack import pack

    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "set" / name / f"{number}.tif").write_bytes(COLOURS["tif"](DEEP))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    images_request = request_of({"source": "imagefolder", "path": str(tmp_path / "set"), "side": 8, "pixels": "f32"})
    with pytest.raises(UserError, match=r"tifffile is not installed: pip install 'vit_sweep\[data\]'"):
        pack(images_request, tmp_path / "root", workers=0)
