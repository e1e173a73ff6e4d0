"""What tests do inside a rank before its first line: each function runs in the forked process, never in the test's."""

import os
import signal
import time


def signal_at(rank, number, epoch, step, phase="training"):
    """Let this rank, if it is `rank`, send itself a signal when it comes by that place."""
    if os.environ["RANK"] != str(rank):
        return
    from vit_sweep.guardian import SIGNALS, Guardian

    told, done = Guardian.beat, []

    def beat(self, *where):
        told(self, *where)
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
    from vit_sweep.train.checkpoint import Checkpoints

    publish, seen = Checkpoints._publish, []

    def die(self, *given):
        seen.append(1)
        if len(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        publish(self, *given)

    Checkpoints._publish = die


def _wait(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def short_grace(seconds):
    """Give ranks only so long to stop after a signal."""
    from vit_sweep import guardian

    guardian.TERM_GRACE_S = guardian.USR2_GRACE_S = seconds


def fail_at(epoch, step, error):
    """Raise an exception in the middle of a step, where the optimizer would."""
    import torch.nn.functional

    from vit_sweep.train import loop

    entropy = torch.nn.functional.cross_entropy
    place = []

    def fail(*given, **options):
        if place[-1:] == [("training", epoch, step)]:
            raise eval(error)
        return entropy(*given, **options)

    loop.cross_entropy = fail
    from vit_sweep.guardian import Guardian

    told = Guardian.beat

    def beat(self, *where):
        place.append(where)
        told(self, *where)

    Guardian.beat = beat


def fill_disk_at(folder, where):
    """Let rank 0 write until nothing more fits, once, when it comes by that place."""
    from vit_sweep.guardian import Guardian

    told, done = Guardian.beat, []

    def beat(self, *at):
        told(self, *at)
        if os.environ["RANK"] == "0" and at == tuple(where) and not done:
            done.append(at)
            ballast = os.open(f"{folder}/ballast", os.O_WRONLY | os.O_CREAT)
            try:
                while os.write(ballast, b"x" * 4096):
                    pass
            except OSError:
                os.close(ballast)

    Guardian.beat = beat
