"""Fetching data where there is internet, and reading it in a job: a server on this machine stands for the internet."""

import hashlib
import http.server
import io
import pickle
import re
import shutil
import signal
import tarfile
import threading
from pathlib import Path

import pytest

from launchers.checked import to_json
from tests.conftest import TEST_CONF, wait_for
from tests.e2e.conftest import records
from tests.e2e.train.images import image_folders
from tests.e2e.train.ranks import Program
from vit_sweep.plan.choices import DataSource
from vit_sweep.plan.specs import DataFile, DataSpec

pytestmark = pytest.mark.train

FOLDER = "cifar-100-python"

PREPARE = """
import sys
import torchvision
from vit_sweep.__main__ import _code_of
from vit_sweep.cli.terminal.user_errors import reported
from vit_sweep.cli.setup.data import app

kind = torchvision.datasets.CIFAR100
kind.url, kind.tgz_md5, files = sys.argv[1], sys.argv[2], dict(part.split("=") for part in sys.argv[3].split())
kind.train_list = [["train", files["train"]]]
kind.test_list = [["test", files["test"]]]
kind.meta = kind.meta | {"md5": files["meta"]}
sys.exit(reported(lambda: _code_of(app, sys.argv[4:]), sys.argv[4:]))
"""


def cifar100(images=24, test_images=6):
    """Files of CIFAR-100's very format, by name."""
    import numpy as np

    rng = np.random.default_rng(0)

    def split(count):
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        return {"data": pixels, "fine_labels": [i % 5 for i in range(count)], "coarse_labels": [0] * count}

    content = {"train": split(images), "test": split(test_images), "meta": {"fine_label_names": list("abcde")}}
    return {name: pickle.dumps(value) for name, value in content.items()}


@pytest.fixture(scope="module")
def files():
    return cifar100()


@pytest.fixture(scope="module")
def spec(files):
    listed = tuple(DataFile(path=f"{FOLDER}/{n}", md5=hashlib.md5(c).hexdigest()) for n, c in files.items())
    return DataSpec(name="tiny", source=DataSource.CIFAR100, train_images=24, test_images=6, classes=5, files=listed)


@pytest.fixture(scope="module")
def archive(files):
    """The archive as its authors serve it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(f"{FOLDER}/{name}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return packed.getvalue()


class Server:
    """Serves one archive; can stop in the middle of it, and counts who asked for it."""

    def __init__(self, archive):
        self.archive, self.downloads, self.go_on = archive, 0, threading.Event()
        self.go_on.set()
        served = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.archive)))
                self.end_headers()
                if self.headers.get("Method") == "HEAD":  # torchvision's own way to ask where it is sent on to
                    return
                served.downloads += 1
                half = len(served.archive) // 2
                try:
                    self.wfile.write(served.archive[:half])
                    served.go_on.wait(300)
                    self.wfile.write(served.archive[half:])
                except OSError:
                    pass  # whoever asked was killed

            def log_message(self, *_):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/cifar-100-python.tar.gz"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self):
        self.go_on.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(archive):
    running = Server(archive)
    yield running
    running.close()


@pytest.fixture
def prepare(spec, archive, tmp_path):
    """Start `data prepare tiny --root ROOT` in a process that ends with the test, with the archive at `url`."""
    started = []
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "tiny.yaml").write_text(to_json(spec))  # JSON is YAML

    def preparing(url):
        listed = " ".join(f"{file.path.split('/')[1]}={file.md5}" for file in spec.files)
        words = ["prepare", "tiny", "--root", tmp_path / "root", "--config-dir", tmp_path / "conf"]
        digest = hashlib.md5(archive).hexdigest()
        started.append(Program(tmp_path, PREPARE, url, digest, listed, *words, no_proxy="*"))
        return started[-1]

    yield preparing
    for process in started:
        process.kill()


def names_in(folder):
    """Every file below a folder, without locks and stamps."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".lock", ".md5ok"})
    return sorted(str(path.relative_to(folder)) for path in files)


WHOLE = [f"{FOLDER}/meta", f"{FOLDER}/test", f"{FOLDER}/train"]


def test_two_that_prepare_at_once_download_once_and_both_end_well(prepare, server, tmp_path):
    server.go_on.clear()
    first = prepare(server.url)
    wait_for(lambda: server.downloads == 1)
    second = prepare(server.url)
    wait_for(lambda: "another process is fetching tiny; waiting" in second.out)
    server.go_on.set()
    assert first.wait() == 0, first.out + first.err
    assert "100%" in first.err, "a long download shows how far it is"
    assert second.wait() == 0
    assert server.downloads == 1
    for process in (first, second):
        assert "tiny is ready in" in process.out
    assert names_in(tmp_path / "root") == WHOLE


def test_a_killed_download_leaves_nothing_that_the_next_one_trips_over(prepare, server, tmp_path):
    server.go_on.clear()
    first = prepare(server.url)
    wait_for(lambda: (tmp_path / "root/.tiny.partial").is_dir() and server.downloads == 1)
    first.kill()
    server.go_on.set()
    second = prepare(server.url)
    assert second.wait() == 0, second.out + second.err
    assert names_in(tmp_path / "root") == WHOLE


@pytest.mark.parametrize("name", [".tiny.lock", ".tiny.partial", FOLDER, f"{FOLDER}/train"])
def test_a_link_that_somebody_has_put_into_the_data_root_is_not_followed(prepare, server, tmp_path, name):
    """A lock would empty what it leads to, a folder would get files."""
    target = tmp_path / "own"
    target.mkdir()
    (target / "diary").write_text("not for downloads")
    link = tmp_path / "root" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(target if name in {".tiny.partial", FOLDER} else target / "diary")
    ended = prepare(server.url)
    refused = name in {".tiny.lock", FOLDER}
    assert ended.wait() == (2 if refused else 0), ended.out + ended.err
    assert ("is a symbolic link" in ended.err) is refused
    assert {path.name: path.read_text() for path in target.iterdir()} == {"diary": "not for downloads"}


def test_files_that_are_whole_are_not_fetched_again_and_damaged_ones_are(prepare, server, files, tmp_path):
    for name, content in files.items():
        (tmp_path / "root" / FOLDER).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / FOLDER / name).write_bytes(content)
    (tmp_path / "root" / FOLDER / "notes.txt").write_text("somebody's own")
    assert prepare(server.url).wait() == 0
    assert server.downloads == 0
    (tmp_path / "root" / FOLDER / "train").write_bytes(b"damaged")
    assert prepare(server.url).wait() == 0
    assert server.downloads == 1
    assert (tmp_path / "root" / FOLDER / "train").read_bytes() == files["train"]
    assert names_in(tmp_path / "root") == sorted([*WHOLE, f"{FOLDER}/notes.txt"])


def test_without_internet_the_words_say_what_to_copy_where(prepare, server, tmp_path):
    server.close()  # nobody listens there any more
    process = prepare(server.url)
    assert process.wait() == 2, process.out + process.err
    assert "Traceback" not in process.err
    assert "data=tiny: the download failed" in process.err
    assert f"copy its folder {FOLDER} (3 files) into {tmp_path}/root" in process.err
    assert names_in(tmp_path / "root") == []


def test_a_wrong_archive_is_not_put_in_place(prepare, server, tmp_path):
    server.archive = b"a page that says: please log in"
    process = prepare(server.url)
    assert process.wait() == 2, process.out + process.err
    assert "the download failed" in process.err
    assert names_in(tmp_path / "root") == []


# -- in the job --------------------------------------------------------------------------------------


@pytest.fixture
def root(files, tmp_path):
    folder = tmp_path / "root" / FOLDER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder.parent


def test_a_job_reads_each_verified_file_once(spec, root, monkeypatch):
    from vit_sweep.data import datasets
    from vit_sweep.job.train.images.data import load

    datasets.require(spec, root)  # as the sweep did before it submitted
    datasets._read_digest.cache_clear()
    monkeypatch.setattr(hashlib, "file_digest", None)  # whoever computes a checksum now fails
    monkeypatch.setattr("torchvision.datasets.utils.calculate_md5", None)
    train, test = load(spec, root)
    assert (len(train.labels), len(test.labels)) == (24, 6)
    assert train.images.shape == (24, 3, 32, 32)


def test_a_job_reads_from_the_nodes_copy(spec, root, tmp_path, monkeypatch):
    import torch

    from vit_sweep.job.train.images.data import load

    monkeypatch.setenv("NODE_DISK", str(tmp_path / "scratch"))
    before, _ = load(spec, root)
    staged, _ = load(spec, root, "$NODE_DISK")
    shutil.rmtree(root)
    again, _ = load(spec, root, "$NODE_DISK")
    assert torch.equal(before.images, staged.images)
    assert torch.equal(before.images, again.images)


def test_a_job_without_its_data_says_which_command_to_run(spec, tmp_path):
    from vit_sweep.job.train.images.data import load
    from vit_sweep.outcome.ending import Cause
    from vit_sweep.outcome.failure import JobError

    for scratch in (None, str(tmp_path / "scratch")):
        with pytest.raises(JobError, match=r"train is missing; run: vit_sweep data prepare tiny") as raised:
            load(spec, tmp_path / "nowhere", scratch)
        assert raised.value.cause is Cause.DATA


def test_the_digits_are_scikit_learns():
    import torch
    from sklearn.datasets import load_digits

    from vit_sweep.job.train.images.data import load

    spec = DataSpec(name="digits", source=DataSource.DIGITS, train_images=1500, test_images=297, classes=10)
    train, test = load(spec, Path())
    bundle = load_digits()
    grey = (bundle.images * 255 / 16).round().astype("uint8")

    def pictures(images, labels):
        return sorted((int(label), bytes(image)) for image, label in zip(images, labels, strict=True))

    images = torch.cat([train.images, test.images]).numpy()
    assert (images == images[:, :1]).all()  # grey: three equal channels
    assert pictures(images[:, 0], torch.cat([train.labels, test.labels]).numpy()) == pictures(grey, bundle.target)


def test_the_real_archives_checksums_are_torchvisions(tmp_path):
    """Nothing here can fetch the real files, so at least what we would accept is what torchvision would."""
    import torchvision

    from vit_sweep.config.data_catalog import catalog, load

    for name, kind in (("cifar10", torchvision.datasets.CIFAR10), ("cifar100", torchvision.datasets.CIFAR100)):
        digests = {Path(file.path).name: file.md5 for file in load(name, catalog(None, environ={})).files}
        meta = {kind.meta["filename"]: kind.meta["md5"]}
        assert digests == dict(kind.train_list) | dict(kind.test_list) | meta


# -- an image folder, from its files to a trained model ----------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """A site's own data set: real JPEG and PNG files in class folders, and its YAML."""
    image_folders.make(tmp_path / "data")
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "photos.yaml").write_text(to_json(image_folders.spec()))
    return {"VIT_SWEEP_CONF": str(tmp_path / "conf"), "VIT_SWEEP_DATA": str(tmp_path / "data")}


SMALL = [
    f"--config-dir={TEST_CONF}",
    "model=vit_test",
    "data=photos",
    "batch=4",
    "epochs=2",
    "study=s",
    "preflight=off",
    "exposed=off",
    "profile_steps=0",
]


def test_photographs_are_packed_and_train_two_ranks_by_both_pipelines_to_the_same_loss(sweep, study, photos, tmp_path):
    completed = sweep("-m", *SMALL, "gpus=2", env=photos)
    assert completed.returncode == 2
    assert "the images are not packed; pack its images: python -m vit_sweep data prepare photos" in completed.stderr
    completed = sweep("data", "prepare", "photos", env=photos)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "train: 24 of 24 images" in completed.stdout
    assert "photos is ready in" in completed.stdout
    shutil.rmtree(tmp_path / "data" / "photos")  # jobs need the packed form only
    completed = sweep("-m", *SMALL, "gpus=2", "data.pipeline=device,loader", env=photos)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    by_pipeline = {record["requested"]["pipeline"]: record for record in records(study).values()}
    assert set(by_pipeline) == {"device", "loader"}
    for device_epoch, other in zip(by_pipeline["device"]["epochs"], by_pipeline["loader"]["epochs"], strict=True):
        assert device_epoch["images"] == 24
        # The same pixels in the same steps; two gloo ranks add two numbers, which has no order.
        assert device_epoch["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert device_epoch["test_loss"] == pytest.approx(other["test_loss"], rel=1e-5)


def test_a_folder_with_something_that_is_no_image_ends_with_a_sentence(sweep, photos, tmp_path):
    (tmp_path / "data/photos/train/china/train_000.png").write_bytes(b"no image")
    completed = sweep("data", "prepare", "photos", env=photos)
    assert completed.returncode == 2
    assert "Traceback" not in completed.stderr
    assert "1 of 32 files cannot be packed" in completed.stderr
    assert "train_000.png" in completed.stderr


def test_a_packing_that_is_killed_goes_on_where_it_was(photos, tmp_path):
    """By SIGKILL at the 21st of 24 images: what was noted before stays."""
    probe = """
import os, signal, sys
from vit_sweep.data.prepare import pack, source
pack.BLOCK_IMAGES = 4
main, real = os.getpid(), source.Reader.image
def image(self, sample):
    if os.path.exists(sys.argv[1]) and sample.path.endswith("train_017.JPEG"):
        os.kill(main, signal.SIGKILL)
    return real(self, sample)
source.Reader.image = image
from vit_sweep.cli.setup.data import app
app(sys.argv[2:])
"""
    trap = tmp_path / "trap"
    trap.write_text("")
    first = Program(tmp_path, probe, trap, "prepare", "photos", **photos)
    assert first.wait() == -signal.SIGKILL, first.err
    trap.unlink()
    second = Program(tmp_path, probe, trap, "prepare", "photos", **photos)
    assert second.wait() == 0, second.out + second.err
    assert "photos is ready in" in second.out
    # Two workers are at most four images ahead of what is written, and every fourth image is noted.
    noted = re.search(r"train: (\d+) of 24 images are there from an earlier start", second.out)
    assert 12 <= int(noted[1]) <= 20
    assert names_in(tmp_path / "data" / "photos-packed-16") == [
        "manifest.json",
        "manifest.json.sha256ok",
        "test.images.u8",
        "test.images.u8.sha256ok",
        "test.labels.i64",
        "test.labels.i64.sha256ok",
        "train.images.u8",
        "train.images.u8.sha256ok",
        "train.labels.i64",
        "train.labels.i64.sha256ok",
    ]
