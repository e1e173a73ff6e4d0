"""What the trainer computes: the same for every layout, every ZeRO stage and every precision that runs."""

import hashlib
import json
import pickle

import pytest

from tests.e2e.conftest import records
from tests.e2e.train.ranks import Job, small_cell
from vit_sweep.plan.choices import Precision

pytestmark = pytest.mark.train


def trained(folder, **changes):
    """The record of a small cell."""
    job = Job(folder, small_cell(**changes))
    assert job.run() == [0] * job.cell.gpus, job.log()
    return job.json("record.json")


def losses(record):
    return [(epoch["train_loss"], epoch["test_loss"]) for epoch in record["epochs"]]


def test_equal_global_batches_learn_the_same_however_they_are_laid_out(tmp_path):
    """Sample order, loss scaling and reduction do not depend on ranks or accumulation."""
    layouts = [
        {"gpus": gpus, "accum": accum, "micro_batch": 16 // gpus // accum} for gpus in (1, 2) for accum in (1, 2)
    ]
    first, *others = (losses(trained(tmp_path / str(number), **given)) for number, given in enumerate(layouts))
    for other in others:
        for actual, expected in zip(first, other, strict=True):
            assert actual == pytest.approx(expected, rel=1e-4)


def test_every_zero_stage_and_bf16_train_on_two_ranks_to_the_same_loss(tmp_path):
    """Stages in fp32 are compared with one process by `engines/test_certificates.py`, to the last bit but for one."""
    by_engine = {
        (stage, precision): trained(
            tmp_path / f"{stage}{precision}", gpus=2, zero=stage, precision=precision, accum=2, epochs=2
        )
        for stage, precision in ((0, Precision.FP32), *((stage, Precision.BF16) for stage in range(4)))
    }
    plain = losses(by_engine[0, Precision.FP32])
    for (stage, precision), record in by_engine.items():
        assert (record["resolved"]["zero_stage"], record["resolved"]["precision"]) == (stage, precision)
        assert record["gradients"]["difference"] < record["gradients"]["tolerance"] / 10
        tolerance = 1e-3 if precision is Precision.FP32 else 5e-2
        for actual, expected in zip(losses(record), plain, strict=True):
            assert actual == pytest.approx(expected, rel=tolerance)
        assert record["resolved"]["parameters"] == by_engine[0, Precision.FP32]["resolved"]["parameters"]


def test_a_seed_is_a_run_and_the_same_seed_is_the_same_run(tmp_path):
    first, other, again = (losses(trained(tmp_path / name, seed=int(name[0]))) for name in ("1", "2", "1 again"))
    assert first != other
    assert again == first


@pytest.fixture
def tiny_cifar(tmp_path):
    """A data set of CIFAR-10's very format with 40 + 10 images, and the YAML that names its checksums."""
    import numpy as np

    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def save(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return {
            "path": f"cifar-10-batches-py/{name}",
            "md5": hashlib.md5((folder / name).read_bytes()).hexdigest(),
        }

    def batch(images):
        return {
            "data": rng.integers(0, 256, (images, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(images)],
        }

    files = [save("data_batch_1", batch(24)), save("data_batch_2", batch(16)), save("test_batch", batch(10))]
    files.append(save("batches.meta", {"label_names": [f"class{i}" for i in range(10)]}))
    spec = {
        "name": "tiny",
        "source": "cifar10",
        "train_images": 40,
        "test_images": 10,
        "classes": 10,
        "files": files,
    }
    conf = tmp_path / "conf" / "data"
    conf.mkdir(parents=True)
    (conf / "tiny.yaml").write_text(json.dumps(spec))  # JSON is YAML
    return folder


WORDS = [
    "--config-dir=conf",
    "data=tiny",
    "batch=8",
    "epochs=1",
    "study=s",
    "model.layers=1",
    "model.width=24",
    "model.mlp_width=24",
    "preflight=off",
    "profile_steps=0",
]


def test_cifar_files_train_through_torchvisions_reader(sweep, study, tiny_cifar):
    completed = sweep(*WORDS)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    record = next(iter(records(study).values()))
    assert record["epochs"][0]["images"] == 40


def test_a_file_damaged_after_submission_is_a_named_failure(sweep, study, tiny_cifar):
    """The plan's own check is passed by a dry run; the job checks again and says which file and what to do."""
    assert sweep(*WORDS, "dry_run=true").returncode == 0
    (tiny_cifar / "test_batch").write_bytes(b"truncated")
    script = next(study.glob("jobs/*/job.sh"))
    import subprocess

    assert subprocess.run(["sh", script], timeout=300).returncode == 0
    exits = [json.loads(path.read_text()) for path in study.glob("cells/*/attempts/1/exit.json")]
    assert [e["cause"] for e in exits] == ["data"]
    assert "test_batch is damaged (md5 " in exits[0]["message"]
    assert "data prepare tiny" in exits[0]["message"]


def test_a_download_that_breaks_off_leaves_nothing_half_written(tmp_path, monkeypatch):
    from launchers.checked import parse
    from launchers.errors import UserError
    from vit_sweep.config.folders import conf_dir
    from vit_sweep.data.prepare import download
    from vit_sweep.plan.specs import DataSpec

    class BreaksOff:
        def __init__(self, root, download):
            (tmp_path / "root").joinpath(root, "half").write_bytes(b"half")
            raise OSError("connection reset")

    from omegaconf import OmegaConf

    spec = parse(DataSpec, OmegaConf.to_container(OmegaConf.load(conf_dir() / "data/cifar10.yaml")), source="data")
    monkeypatch.setitem(download._KINDS, spec.source, BreaksOff)
    with pytest.raises(UserError, match=r"the download failed \(connection reset\)"):
        download.download(spec, tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir() if not path.name.endswith(".lock")] == []
