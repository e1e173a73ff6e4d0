"""Reading what `scontrol show ... --oneliner`, `scontrol show config` and `sacctmgr` print. Pure.

The texts differ between Slurm's versions in keys that come and go; only the keys that are asked for must be there.
"""

import math
import re

from launchers.errors import UserError

Fields = dict[str, str]

# A key stands at the start or after a blank; a value may hold blanks (`OS=Linux 6.1 #1 SMP`, `Reason=...`).
_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z][\w:/]*)=")
_TIME = re.compile(r"(?:(\d+)-(?=\d+:\d+:))?(\d+):(\d{2})(?::(\d{2}))?", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,6}")
_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
UNUSABLE = ("DOWN", "DRAIN", "FAIL", "FUTURE", "NOT_RESPONDING", "INVAL")
"""In the state of a node on which no job starts."""
_NO_LIMIT = ("UNLIMITED", "INFINITE", "NONE", "N/A", "")


def entries(text: str, *, first: str, command: str) -> list[Fields]:
    """Read one mapping per line; every line must begin with the key `first`.

    Raises `UserError` that names `command` and the line that does not.
    """
    rows = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line.startswith(f"{first}="):
            raise UserError(
                f"{command} printed a line that does not begin with {first}=: {line.strip()[:80]!r}; "
                "nothing was written – send the maintainers this line and `sinfo --version`"
            )
        rows.append(pairs(line))
    return rows


def pairs(line: str) -> Fields:
    """Read `A=1 B=two words C=x=1,y=2`; the first of two equal keys counts, since a Reason may hold anything.

    >>> pairs("A=1 OS=Linux 6.1 #1 B=cpu=2,mem=3G C= D=x")
    {'A': '1', 'OS': 'Linux 6.1 #1', 'B': 'cpu=2,mem=3G', 'C': '', 'D': 'x'}
    """
    keys = list(_KEY.finditer(line))
    ends = [*(key.start() for key in keys[1:]), len(line)][: len(keys)]
    fields: Fields = {}
    for key, end in zip(keys, ends, strict=True):
        fields.setdefault(key[1], line[key.end() : end].strip())
    return fields


def config(text: str) -> Fields:
    """Read the `Key = value` lines of `scontrol show config`."""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in lines}


def hides_jobs(private: str) -> bool:
    """Whether a site's `PrivateData` keeps the jobs of others from users; root sees them all the same."""
    return bool({"jobs", "all"} & set(private.split(",")))


def required(fields: Fields, key: str, *, command: str) -> str:
    """Return a key that must be there; raises `UserError` that names it."""
    if key not in fields:
        record = next(iter(fields.items()), ("", ""))
        raise UserError(
            f"{command} printed no {key}= (for {record[0]}={record[1]}); nothing was written – "
            "is scontrol wrapped on this machine? send the maintainers its output and `sinfo --version`"
        )
    return fields[key]


def whole_number(fields: Fields, key: str, *, command: str) -> int:
    """Return a key that must be there and be a whole number; raises `UserError` that names it."""
    value = required(fields, key, command=command)
    if not value.isdecimal():
        raise UserError(f"{command} printed {key}={value}, which is no whole number; nothing was written")
    return int(value)


def minutes(text: str) -> int | None:
    """Read Slurm's `[days-]hours:minutes:seconds` as whole minutes; None: no limit. Raises `UserError`.

    >>> minutes("1-00:00:00"), minutes("05:00:00"), minutes("00:00:30"), minutes("UNLIMITED")
    (1440, 300, 1, None)
    """
    if text.upper() in _NO_LIMIT:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is no time as Slurm prints it ([days-]hours:minutes:seconds); nothing was written")
    days, *parts = match.groups()
    if parts[2] is None:  # minutes:seconds
        parts = ["0", *parts[:2]]
    hours, mins, seconds = (int(part) for part in parts)
    total = int(days or 0) * 1440 + hours * 60 + mins + seconds / 60
    return max(1, math.floor(total))


def gpus(gres: str) -> dict[str | None, int]:
    """Count a node's GPUs by Slurm's type name (None: no type) as Gres= prints them; raises `UserError`.

    >>> gpus("gpu:a100:4(S:0-1),gpu:a100_1g.5gb:7(S:0,1),shard:8"), gpus("gpu:2,gpu:1080:4"), gpus("(null)")
    ({'a100': 4, 'a100_1g.5gb': 7}, {None: 2, '1080': 4}, {})
    """
    counts: dict[str | None, int] = {}
    for name, *fields in _resources(gres):
        if name != "gpu":
            continue
        # The last number is the count: one before it is a type's name.
        count = int(fields.pop()) if fields and _COUNT.fullmatch(fields[-1]) else 1
        kind = fields.pop() if fields and _TYPE.fullmatch(fields[-1]) else None
        if fields:
            raise UserError(f"Gres={gres} is none as Slurm prints it (gpu:type:count); nothing was written")
        counts[kind] = counts.get(kind, 0) + count
    return {kind: count for kind, count in counts.items() if count}


def beside_gpus(gres: str) -> list[str]:
    """Names of a node's generic resources other than GPUs.

    >>> beside_gpus("gpu:a100:4(S:0-1),shard:8,nvme:no_consume:2"), beside_gpus("(null)")
    (['shard', 'nvme'], [])
    """
    return [name for name, *_ in _resources(gres) if name != "gpu"]


def _resources(gres: str) -> list[list[str]]:
    parts = re.sub(r"\([^)]*\)", "", gres).split(",")
    resources = [[field for field in part.strip().split(":") if field not in ("", "no_consume")] for part in parts]
    return [fields for fields in resources if fields]


def version(text: str) -> tuple[int, int, int]:
    """Read `slurm-wlm 22.05.8` or `23.11.4-1.el9` as numbers; raises `UserError`.

    >>> version("slurm-wlm 22.05.8"), version("slurm 24.05.0-0rc1")
    ((22, 5, 8), (24, 5, 0))
    """
    match = re.search(r"(\d{2})\.(\d{2})\.(\d+)", text)
    if match is None:
        raise UserError(f"{text.strip()!r} names no Slurm version like 23.11.4; nothing was written")
    return int(match[1]), int(match[2]), int(match[3])


def qos_submit_limits(text: str) -> dict[str, int]:
    """Read `sacctmgr -n -P show qos format=Name,MaxSubmitPU`: jobs of one user, by QOS."""
    rows = (line.split("|") for line in text.splitlines() if line.count("|") >= 1)
    return {row[0]: int(row[1]) for row in rows if row[1].isdecimal()}


def expected_start(text: str) -> str | None:
    """The start that `sbatch --test-only` prints, None if it prints none.

    >>> expected_start("sbatch: Job 1 to start at 2026-11-21T06:54:54 using 2 processors on nodes a in partition b")
    '2026-11-21T06:54:54'
    """
    match = re.search(r"Job \S+ to start at (\S+)", text)
    return match[1] if match else None
