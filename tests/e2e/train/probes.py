"""What tests do inside a rank before its first line: each function runs in the forked process, never in the test's."""

import os
import signal
import sys
import time


def signal_at(rank, number, epoch, step, phase="training"):
    """Let this rank, if it is `rank`, send itself a signal when it comes by that place."""
    if os.environ["RANK"] != str(rank):
        return
    from launchers.process.environment import SIGNALS
    from vit_sweep.job.guardian import Guardian

    real_beat, done = Guardian.beat, []

    def beat(self, *where):
        real_beat(self, *where)
        if where != (phase, epoch, step) or done:
            return
        done.append(where)
        os.kill(os.getpid(), getattr(signal, number))
        if getattr(signal, number) in SIGNALS:
            # Here, with other ranks inside this step, until all agree; so the stop falls where the test says.
            _wait(self._ask.__self__._agreed.is_set)

    Guardian.beat = beat


def killed_in_save(nth):
    """Kill this rank in its nth checkpoint, when the files are written and not yet in place."""
    from vit_sweep.job.train.checkpoint import Checkpoints

    publish, published = Checkpoints._publish, []

    def die(self, *args):
        published.append(1)
        if len(published) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        publish(self, *args)

    Checkpoints._publish = die


def _wait(true, seconds=300):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def short_grace(seconds):
    """Give ranks only so long to stop after a signal."""
    from vit_sweep.job import guardian

    guardian.TERM_GRACE_S = guardian.USR2_GRACE_S = seconds


def fail_at(epoch, step, error):
    """Raise an exception in the middle of a step, where the optimizer would."""
    from vit_sweep.job.train import loop
    from vit_sweep.job.train.objective import loss_of

    place = []

    def fail(*args, **options):
        if place[-1:] == [("training", epoch, step)]:
            raise eval(error)
        return loss_of(*args, **options)

    loop.loss_of = fail  # type: ignore[attr-defined]  # the name that it imported
    from vit_sweep.job.guardian import Guardian

    real_beat = Guardian.beat

    def beat(self, *where):
        place.append(where)
        real_beat(self, *where)

    Guardian.beat = beat


def fill_disk_at(folder, where):
    """Let rank 0 write until nothing more fits, once, when it comes by that place."""
    from vit_sweep.job.guardian import Guardian

    real_beat, done = Guardian.beat, []

    def beat(self, *at):
        real_beat(self, *at)
        if os.environ["RANK"] == "0" and at == tuple(where) and not done:
            done.append(at)
            ballast = os.open(f"{folder}/ballast", os.O_WRONLY | os.O_CREAT)
            try:
                while os.write(ballast, b"x" * 4096):
                    pass
            except OSError:
                os.close(ballast)

    Guardian.beat = beat


def note_instruments(path):
    """Note, line by line, where timed steps begin and end and what loggers and profilers do between."""
    import deepspeed.comm
    import torch.nn.functional

    from vit_sweep.job.train.loop import Trainer
    from vit_sweep.job.train.trackers.guarded import Trackers

    linear, timed, micro, guard = torch.nn.functional.linear, Trainer._train_steps, Trainer._micro_step, Trackers._guard

    def note(line):
        with open(f"{path}.{os.environ['RANK']}", "a") as file:  # noqa: PTH123 - in a forked rank
            file.write(line + "\n")

    def steps(self):
        note("timed steps begin")
        timed(self)
        note("timed steps end")

    def step(self, *args, **options):
        if deepspeed.comm.comms_logger.enabled:
            note("a step with the communication logger")
        if torch.nn.functional.linear is not linear:
            note("a step with the FLOPs profiler")
        micro(self, *args, **options)

    def guarded(self, logger, *args):
        note(f"a call of {logger.value}")
        guard(self, logger, *args)

    Trainer._train_steps, Trainer._micro_step, Trackers._guard = steps, step, guarded


def broken_instruments():
    """On rank 1 neither of DeepSpeed's profilers starts; on rank 0 MLflow's second epoch finds no room."""
    import deepspeed.comm
    from deepspeed.profiling.flops_profiler.profiler import FlopsProfiler

    if os.environ["RANK"] == "0":
        from vit_sweep.job.train.trackers.mlflow import Mlflow

        epoch = Mlflow.epoch

        def full(self, number, figures):
            if number == 2:
                raise OSError("No space left on device")
            epoch(self, number, figures)

        Mlflow.epoch = full
        return

    configure = deepspeed.comm.configure

    def refuse(*args, enabled=None, **options):
        if enabled:
            raise RuntimeError("no such instrument here")
        configure(*args, enabled=enabled, **options)

    def no_start(*args, **options):
        raise RuntimeError("no such instrument here")

    FlopsProfiler.start_profile = no_start
    deepspeed.comm.configure = refuse


def import_from(folder):
    """Let this rank import what lies in `folder`, as PYTHONPATH would."""
    import sys

    sys.path.insert(0, folder)


def on_path(folder):
    """Find modules of somebody's own, as PYTHONPATH would have it."""
    sys.path.insert(0, folder)


def another_start_ends_first(record):
    """Leave the record of another start of the same attempt, just before this one writes its own."""
    from vit_sweep.job.train import finish

    names = vars(finish)
    keep = names["keep"]

    def second(mine, folder, **more):
        (folder / "record.json").write_text(record)
        return keep(mine, folder, **more)

    names["keep"] = second
