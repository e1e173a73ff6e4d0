"""The backend of a scheduler. Only the one that is asked for is imported: Slurm's brings submitit along."""

from launchers.backend import Launcher
from launchers.profile import Scheduler


def launcher_of(scheduler: Scheduler) -> Launcher:
    """Return the backend that submits to `scheduler`."""
    match scheduler:
        case Scheduler.SLURM:
            from launchers.slurm.backend import SlurmLauncher

            return SlurmLauncher()
        case Scheduler.HOSTFILE:
            from launchers.hostfile.backend import HostfileLauncher

            return HostfileLauncher()
        case Scheduler.LOCAL:
            from launchers.local.backend import LocalLauncher

            return LocalLauncher()
