"""What ran where: each kind of machine once, by a fingerprint of its facts. Pure."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable

from launchers.text import some
from vit_sweep.record.machine import FACTS, Fingerprint, unlike_gpus
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.table import Cells, Column, Table
from vit_sweep.runs.run import Run

_DIGITS = 32
"""Hex digits of a fingerprint that are shown: two machines with the same are the same."""
_SIDE_BY_SIDE = 4
"""Machines up to which each is a column: many facts of few machines read better downwards."""
_NAMED = 12
"""Cells of a machine that are named."""
_MORE: tuple[tuple[str, str, Callable[[Fingerprint], str | int | float | None]], ...] = (
    ("host_cores", "cores", lambda one: one.host_cores),
    ("host_memory_gib", "memory, GiB", lambda one: round(one.host_memory_mib / 1024) if one.host_memory_mib else None),
    ("network_gbit_per_s", "network, Gbit/s", lambda one: one.network_gbit_per_s),
    ("kernel", "kernel", lambda one: one.kernel),
    ("python", "Python", lambda one: one.python),
)


def machines(runs: Iterable[Run]) -> tuple[Table, ...]:
    """One table: a row per kind of machine and host, with the runs that it served; none if no run recorded any."""
    served: dict[tuple[str, str], Counter[str]] = {}
    facts: dict[tuple[str, str], Fingerprint] = {}
    for run in runs:
        for one in run.machine:
            key = (fingerprint(one), one.host)
            facts.setdefault(key, one)
            served.setdefault(key, Counter())[run.run_id] += 1
    if not facts:
        return ()
    names = [name for name in FACTS if any(FACTS[name](one) is not None for one in facts.values())]
    more = [(name, title, fact) for name, title, fact in _MORE if any(fact(one) is not None for one in facts.values())]
    rows = []
    for key in sorted(facts, key=lambda key: (key[1], key[0])):
        one, ranks = facts[key], served[key]
        found: Cells = {"host": key[1], "fingerprint": key[0]}
        found |= {name: FACTS[name](one) for name in names} | {name: fact(one) for name, _, fact in more}
        rows.append(
            found | {"runs": len(ranks), "ranks": ranks.total(), "cells": some(sorted(ranks), _NAMED, separator=" ")}
        )
    columns = (
        Column(name="host"),
        Column(name="fingerprint", meaning="sha256 over the facts of this row that make machines alike, shortened."),
        *(Column(name=name) for name in names),
        *(Column(name=name, title=title) for name, title, _ in more),
        Column(name="runs"), Column(name="ranks"), Column(name="cells", title="which"),
    )  # fmt: skip
    made = table_of("machines", "Machines: one row per host and kind of machine that ranks ran on", columns, rows)
    return (_turned(made) if len(rows) <= _SIDE_BY_SIDE else made,)


def remarks(runs: Iterable[Run]) -> tuple[str, ...]:
    """What makes the machines of a study unlike, what was flagged, and what is not known of them."""
    every = [run for run in runs if run.timed]
    unlike = unlike_gpus(one for run in every for one in run.machine)
    said = [f"Not all GPUs are alike: {clause}." for clause in unlike]
    unknown = [run.run_id for run in every if not run.machine]
    if unknown:
        said.append(f"{len(unknown)} of {len(every)} runs recorded no machine: {', '.join(unknown[:5])}.")
    elif every and not unlike:
        said.append(
            "As far as it was recorded, all ranks had equal GPUs." if _gpus(every) else "Ranks ran on processors."
        )
    said += [f"{flag}: {', '.join(ids[:5])}{' and others' if len(ids) > 5 else ''}." for flag, ids in _flags(every)]
    return tuple(said)


def fingerprint(one: Fingerprint) -> str:
    """Hex digits of sha256 over what makes machines alike: neither host, rank, nor serial number."""
    facts = [f"{name}={FACTS[name](one)}" for name in FACTS]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_DIGITS]


def _turned(table: Table) -> Table:
    """Rows as columns."""
    many = len(table.rows) > 1
    hosts = [f"{row['host']} {number}" if many else str(row["host"]) for number, row in enumerate(table.rows, 1)]
    facts = [
        {"fact": column.title or column.name}
        | {host: row[column.name] for host, row in zip(hosts, table.rows, strict=True)}
        for column in table.columns[1:]
    ]
    title = "Machines: one column per host and kind of machine that ranks ran on"
    return table_of("machines", title, (Column(name="fact"), *(Column(name=host) for host in hosts)), facts)


def _gpus(runs: Iterable[Run]) -> bool:
    return any(one.gpu is not None for run in runs for one in run.machine)


def _flags(runs: Iterable[Run]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for run in runs:
        for flag in run.flags:
            found.setdefault(flag, []).append(run.run_id)
    return sorted(found.items())
