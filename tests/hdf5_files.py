"""Small HDF5 files in published layouts, with planted truths: for tests of what reads them."""

import h5py
import numpy as np

ACQUISITIONS = ("CORPD_FBK", "CORPDFS_FBK")


def fastmri_volume(path, *, number, slices=6, side=32, coils=2):
    """A volume as fastMRI publishes it, written by a transform of its own.

    The acquisition shows: a disc or a ring, at numbers as small as a scanner's, under noise.
    """
    noise = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(rows, columns) / (side / 2)
    kind = number % 2
    shape = (radius < 0.6) if kind == 0 else (abs(radius - 0.7) < 0.15)
    pictures = 1e-5 * (shape[None] + 0.2 * noise.random((slices, side, side)))  # (slices, rows, columns)
    shares = np.array([0.6, 0.8])[:coils] / np.linalg.norm([0.6, 0.8][:coils])  # squares add up to 1
    coil_images = (pictures[:, None] * shares[None, :, None, None]).astype(np.complex64)
    axes = (-2, -1)
    k_space = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(coil_images, axes=axes), norm="ortho"), axes=axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = k_space.astype(np.complex64)
        file["reconstruction_rss"] = pictures.astype(np.float32)
        file["ismrmrd_header"] = "<ismrmrdHeader/>"
        file.attrs["acquisition"] = ACQUISITIONS[kind]
        file.attrs["max"] = float(pictures.max())
        file.attrs["norm"] = float(np.linalg.norm(pictures))
        file.attrs["patient_id"] = f"{number:064x}"
    return path


def fastmri(folder, *, train=8, val=4, **changes):
    """multicoil_train/ and multicoil_val/ of so many volumes."""
    for number in range(train + val):
        part = "train" if number < train else "val"
        fastmri_volume(folder / f"multicoil_{part}" / f"file{1000 + number}.h5", number=number, **changes)
    return folder


def write(path, **datasets):
    """A file of these datasets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path
