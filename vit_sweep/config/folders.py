"""Where configurations lie: those that are shipped, and a site's own. An edge."""

from collections.abc import Mapping
from pathlib import Path

from launchers.errors import UserError

SITE_VARIABLE = "VIT_SWEEP_CONF"
"""Names a site's own folder, once for everybody."""
DEFAULT_PARTITION = "VIT_SWEEP_PARTITION"
VARIABLES = {
    SITE_VARIABLE: "a site's own folder of partitions, models and data sets, like conf/",
    DEFAULT_PARTITION: "the partition where neither a command nor its named grid names one; `a+b`: whichever of both "
    "starts a cell first; `a,b`: each",
    "VIT_SWEEP_DATA": "the folder of the data files, `data_root` where a command names none",
    "VIT_SWEEP_FIGURES": "on (the default) draws figures with the tables, off leaves them to `report`; svg, png or "
    "pdf, several with a comma, draws these only",
}
"""What users set for all their commands; the variables of a job are in `launchers.process.environment`."""


def conf_dir() -> Path:
    """The shipped configurations: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def site_dir(environ: Mapping[str, str]) -> Path | None:
    """A site's own configurations, if it names some; raises `UserError` where they are not there."""
    site = environ.get(SITE_VARIABLE)
    if site is not None and not Path(site).is_dir():
        raise UserError(f"{SITE_VARIABLE}={site}: there is no such folder; it names a site's own conf/, or unset it")
    return None if site is None else Path(site)
