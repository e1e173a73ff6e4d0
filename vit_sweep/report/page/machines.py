"""What ran where: each kind of machine once, by a fingerprint of its facts. Pure."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable

from launchers.text import grouped, some
from vit_sweep.record.machine import FACTS, Fingerprint, unlike_gpus
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.form.table import Cells, Column, Table
from vit_sweep.runs.run import Run

_DIGITS = 32
"""Hex digits of a fingerprint that are shown: two machines with the same are the same."""
_SIDE_BY_SIDE = 4
"""Machines up to which each is a column: many facts of few machines read better downwards."""
_NAMED = 12
"""Cells of a machine that are named."""
_MORE: tuple[tuple[str, str, Callable[[Fingerprint], str | int | float | None]], ...] = (
    ("host_cores", "cores", lambda rank: rank.host_cores),
    ("host_memory_gib", "memory, GiB", lambda r: round(r.host_memory_mib / 1024) if r.host_memory_mib else None),
    ("network_gbit_per_s", "network, Gbit/s", lambda rank: rank.network_gbit_per_s),
    ("kernel", "kernel", lambda rank: rank.kernel),
    ("python", "Python", lambda rank: rank.python),
)


def machines(runs: Iterable[Run]) -> tuple[Table, ...]:
    """One table: a row per kind of machine and host, with the runs that it served; none if no run recorded any."""
    served: dict[tuple[str, str], Counter[str]] = {}
    facts: dict[tuple[str, str], Fingerprint] = {}
    for run in runs:
        for rank in run.machine:
            key = (fingerprint(rank), rank.host)
            facts.setdefault(key, rank)
            served.setdefault(key, Counter())[run.run_id] += 1
    if not facts:
        return ()
    names = [name for name in FACTS if any(FACTS[name](rank) is not None for rank in facts.values())]
    more = [(name, title, fact) for name, title, fact in _MORE if any(fact(r) is not None for r in facts.values())]
    rows = []
    for key in sorted(facts, key=lambda key: (key[1], key[0])):
        rank, ranks = facts[key], served[key]
        cells: Cells = {"host": key[1], "fingerprint": key[0]}
        cells |= {name: FACTS[name](rank) for name in names} | {name: fact(rank) for name, _, fact in more}
        rows.append(
            cells | {"runs": len(ranks), "ranks": ranks.total(), "cells": some(sorted(ranks), _NAMED, separator=" ")}
        )
    columns = (
        Column(name="host"),
        Column(name="fingerprint", meaning="sha256 over the facts of this row that make machines alike, shortened."),
        *(Column(name=name) for name in names),
        *(Column(name=name, title=title) for name, title, _ in more),
        Column(name="runs"),
        Column(name="ranks"),
        Column(name="cells", title="which"),
    )
    table = table_of("machines", "Machines: one row per host and kind of machine that ranks ran on", columns, rows)
    return (_transposed(table) if len(rows) <= _SIDE_BY_SIDE else table,)


def remarks(runs: Iterable[Run]) -> tuple[str, ...]:
    """What makes the machines of a study unlike, what was flagged, and what is not known of them."""
    timed = [run for run in runs if run.timed]
    unlike = unlike_gpus(rank for run in timed for rank in run.machine)
    clauses = [f"Not all GPUs are alike: {clause}." for clause in unlike]
    unknown = [run.run_id for run in timed if not run.machine]
    if len(unknown) < len(timed) and unknown:  # of none at all the empty table says so
        clauses.append(f"{len(unknown)} of {len(timed)} runs recorded no machine: {some(unknown, 5)}.")
    elif timed and not unknown and not unlike:
        clauses.append(
            "As far as it was recorded, all ranks had equal GPUs." if _gpus(timed) else "Ranks ran on processors."
        )
    flagged = grouped((flag, run.run_id) for run in timed for flag in run.flags)
    clauses += [f"{flag}: {some(ids, 5)}." for flag, ids in sorted(flagged.items())]
    return tuple(clauses)


def fingerprint(rank: Fingerprint) -> str:
    """Hex digits of sha256 over what makes machines alike: neither host, rank, nor serial number."""
    facts = [f"{name}={FACTS[name](rank)}" for name in FACTS]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_DIGITS]


def _transposed(table: Table) -> Table:
    """Rows as columns."""
    many = table.height > 1
    hosts = [f"{host} {number}" if many else str(host) for number, host in enumerate(table.values["host"], 1)]
    facts = [
        {"fact": column.title or column.name} | dict(zip(hosts, table.values[column.name], strict=True))
        for column in table.columns[1:]
    ]
    title = "Machines: one column per host and kind of machine that ranks ran on"
    return table_of("machines", title, (Column(name="fact"), *(Column(name=host) for host in hosts)), facts)


def _gpus(runs: Iterable[Run]) -> bool:
    return any(rank.gpu is not None for run in runs for rank in run.machine)
