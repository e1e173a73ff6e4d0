"""Images of a packed file: what is asked for ahead is what is read, whole pages of it."""

import mmap

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_sweep.job.train.images.mapped import MappedImages

IMAGES = 9


class Asked:
    """In the place of a map: notes what the kernel is asked for."""

    def __init__(self, file):
        self.file, self.ranges = file, []

    def madvise(self, advice, begin, length):
        self.file.madvise(advice, begin, length)  # the kernel's own rules
        self.ranges.append((advice, begin, begin + length))


@settings(deadline=None)
@given(side=st.integers(1, 90), images=st.lists(st.integers(0, IMAGES - 1)))
def test_every_byte_of_the_images_is_asked_for_from_the_start_of_a_page(tmp_path_factory, side, images):
    path = tmp_path_factory.mktemp("packed") / "train.images.u8"
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, side, side), dtype=np.uint8)
    path.write_bytes(pixels.tobytes())
    mapped = MappedImages(path, pixels.shape, pixels.dtype)
    mapped._map = advised = Asked(mapped._map)
    mapped.ahead(images)
    assert np.array_equal(mapped.array, pixels)
    size = 3 * side * side
    for image, (advice, begin, end) in zip(images, advised.ranges, strict=True):
        assert advice == mmap.MADV_WILLNEED
        assert begin % mmap.PAGESIZE == 0
        assert image * size - mmap.PAGESIZE < begin <= image * size
        assert end == (image + 1) * size
