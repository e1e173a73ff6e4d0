"""Tables that somebody asks for by name, printed and not written. An edge."""

from collections.abc import Sequence

from rich.console import Console

from launchers.errors import UserError, closest
from vit_sweep.cli.terminal import show
from vit_sweep.plan.choices import Scaling
from vit_sweep.runs.run import Run
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import Study

_ALL = "all"


def completions(incomplete: str) -> list[str]:
    """The names that a word may become."""
    from vit_sweep.report.tables.all_tables import NAMES

    return [name for name in (*NAMES, _ALL) if name.startswith(incomplete)]


def check(names: Sequence[str], *, alone: bool) -> None:
    """Raise `UserError` for a table that there cannot be, and, unless it is `alone`, beside options that write."""
    require_extra("report")
    from vit_sweep.report.tables.all_tables import NAMES

    for name in names:
        if name not in (*NAMES, _ALL):
            raise UserError(f"--table {name}: there is no such table – {closest(name, (*NAMES, _ALL))}")
    if not alone:
        raise UserError(
            "--table only prints, and --output, --export and --json do more: leave them out, or leave --table out and "
            "find every table in what they write"
        )


def print_tables(
    names: Sequence[str], origin: Study | Sequence[Run], console: Console, *, name: str, target: float | None
) -> int:
    """Print tables of a study or of imported runs, which are called `name`; returns 1 where one has nothing in it."""
    from vit_sweep.report.gather import gather, gather_runs

    gathered = gather(origin, target=target) if isinstance(origin, Study) else gather_runs(origin, target=target)
    tables = {table.name: table for table in gathered.tables}
    for requested in tables if _ALL in names else dict.fromkeys(names):
        if requested in tables:
            draw = show.scaling if requested in [mode.value for mode in Scaling] else show.whole
            console.print(draw(tables[requested]))
        else:
            console.print(f"{requested}: {name} has nothing for it; it has {', '.join(tables) or 'no table'}")
    show.problems(console, gathered.problems)
    return 0 if tables and {*names} <= {*tables, _ALL} else 1
