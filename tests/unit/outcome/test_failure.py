"""Failures get their names from exceptions: by type, and by the exception's own text where a library has one type."""

import errno
import tomllib

import pytest

from launchers.errors import UserError
from tests.conftest import ROOT
from vit_sweep.outcome import failure
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import Interrupted, JobError, StopRequest, cause_of, lacking, reached_limit


class DistError(RuntimeError):
    """As torch's."""


class DistBackendError(DistError):
    """As torch's."""


class OutOfMemoryError(RuntimeError):
    """As torch's."""


class AcceleratorError(RuntimeError):
    """As torch's."""


NCCL = "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error, NCCL version 2.29.7\n"
WORD = StopRequest(cause=Cause.PREEMPTED, message="told", signal="SIGUSR2")

NOT_EXECUTABLE = "/tmp/torchinductor_u/x.so: failed to map segment from shared object"
"""As glibc says of a library on a file system that is mounted noexec; torch's inductor raises it on as its own."""
CASES = [
    (JobError(Cause.DATA, "missing"), Cause.DATA),
    (UserError("x"), Cause.CONFIGURATION),
    (Interrupted(WORD), Cause.PREEMPTED),
    (KeyboardInterrupt(), Cause.TERMINATED),
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), Cause.OUT_OF_MEMORY),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), Cause.OUT_OF_MEMORY),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), Cause.OUT_OF_MEMORY),
    (AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"), Cause.OUT_OF_MEMORY),
    (DistBackendError(NCCL + "Last error:\nCuda failure 2 'out of memory'"), Cause.OUT_OF_MEMORY),
    (DistBackendError(NCCL + "Last error:\nCuda failure 'out of memory'"), Cause.OUT_OF_MEMORY),
    (MemoryError(), Cause.HOST_OUT_OF_MEMORY),
    (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
            "to allocate 8 bytes. Error code 12 (Cannot allocate memory)"
        ),
        Cause.HOST_OUT_OF_MEMORY,
    ),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), Cause.HOST_OUT_OF_MEMORY),
    (OSError(errno.ENOSPC, "No space left on device"), Cause.STORAGE),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), Cause.STORAGE),
    (OSError(errno.EROFS, "Read-only file system"), Cause.STORAGE),
    (
        RuntimeError(
            "[enforce fail at inline_container.cc:865] . PytorchStreamWriter failed writing file data/3: file "
            "write failed"
        ),
        Cause.STORAGE,
    ),
    (DistBackendError(NCCL + "Last error:\nremote process exited"), Cause.COMMUNICATION),
    (DistError("wait timeout after 300000ms"), Cause.COMMUNICATION),
    (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711"), Cause.COMMUNICATION),
    (RuntimeError("Connection reset by peer"), Cause.COMMUNICATION),
    (
        RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1800000ms for recv operation"),
        Cause.COMMUNICATION,
    ),
    (OSError(errno.EMFILE, "Too many open files"), Cause.CONFIGURATION),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), Cause.CONFIGURATION),
    (RuntimeError("can't start new thread"), Cause.CONFIGURATION),
    (ImportError(NOT_EXECUTABLE), Cause.CONFIGURATION),
    (RuntimeError(f"ImportError: {NOT_EXECUTABLE}"), Cause.CONFIGURATION),
    (DistBackendError(NCCL + "Call to accept failed: Resource temporarily unavailable"), Cause.COMMUNICATION),
    (ModuleNotFoundError("No module named 'deepspeed'", name="deepspeed"), Cause.CONFIGURATION),
    (ImportError("libc10.so: cannot open shared object file", name="torch._C"), Cause.CONFIGURATION),
    (ModuleNotFoundError("No module named 'vit_sweep.job.trian'", name="vit_sweep.job.trian"), Cause.BUG),
    (ImportError("cannot import name 'tarin'", name="vit_sweep.job.train"), Cause.BUG),
    (ValueError("CUDA out of memory"), Cause.BUG),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), Cause.BUG),
    (FileNotFoundError(errno.ENOENT, "No such file"), Cause.BUG),
]


@pytest.mark.parametrize(("error", "cause"), CASES, ids=lambda x: str(x)[:40])
def test_every_failure_has_one_name(error, cause):
    assert cause_of(error) is cause


def test_an_error_raised_from_another_takes_its_name_only_if_it_has_none():
    nameless = RuntimeError("step failed")
    nameless.__cause__ = OutOfMemoryError("CUDA out of memory")
    assert cause_of(nameless) is Cause.OUT_OF_MEMORY
    named = JobError(Cause.DATA, "unreadable")
    named.__cause__ = OSError(errno.ENOSPC, "full")
    assert cause_of(named) is Cause.DATA


def test_the_word_of_a_stop_says_more_when_more_is_known():
    assert str(Interrupted(WORD)) == "told"
    assert str(Interrupted(WORD, "told; saved")) == "told; saved"


def test_what_was_compiled_where_nothing_may_be_executed_is_told_with_what_to_do():
    assert "noexec): set TMPDIR" in reached_limit(ImportError(NOT_EXECUTABLE))


def test_a_package_that_jobs_lack_is_named_with_its_extra_and_one_that_is_broken_is_not_to_be_installed_again():
    gone = ModuleNotFoundError("No module named 'megatron'", name="megatron.core")
    assert lacking(gone) == "the python that runs the jobs has no megatron: pip install 'vit_sweep[engines]' for it"
    broken = lacking(ImportError("libc10.so: cannot open shared object file", name="torch._C"))
    assert broken == "torch is there and cannot be imported: it must fit the machine and the packages beside it"


@pytest.mark.parametrize("fault", ["raise ImportError('needs GLIBC_2.38')", "import no_such_part_of_it"])
def test_a_package_that_raises_without_its_name_is_named_by_where_it_raised(fault):
    with pytest.raises(ImportError) as raised:
        exec(fault, {"__name__": "deepspeed.ops"})
    assert lacking(raised.value).startswith("deepspeed is there")


@pytest.mark.parametrize("extra", ["train", "engines", "timm"])
def test_the_extras_that_are_named_have_the_packages(extra):
    has = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    called = {"sklearn": "scikit-learn", "megatron": "megatron-core"}
    wanted = [called.get(package, package) for package, where in failure._EXTRAS.items() if where == extra]
    assert wanted and all(any(line.startswith(name) for line in has) for name in wanted)
