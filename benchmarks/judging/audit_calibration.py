"""How often each rule of the audit speaks of a sound study, and how often it finds the flaw that it is named after.

    python benchmarks/judging/audit_calibration.py [STUDIES] [--json FILE]      200 studies of each kind unless told

Prints a Markdown table. Studies (`planted_studies`) take the way of a user's CSV file: rows, `runs.tidy`,
`audit.judge`. Sound ones are of strong and weak scaling with three seeds; strong with rows of every rank; and both
modes with a single run each of ideal scaling: the hardest case, as half of its efficiencies lie above 1 by chance, and
of which only the rules that say so may speak.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.judging.planted_studies import FLAWS, Draw, Study, both_modes, sound
from benchmarks.provenance import options, report

EXPECTED_OF_SINGLE_RUNS = frozenset({"single runs", "one seed"})


def calibrate(studies: int, *, seed: int = 0) -> dict[str, Any]:
    """Shares of studies, 0 to 1: false alarms of each rule in both kinds of sound studies, and of each flaw that was
    found."""
    kinds: dict[str, Callable[[Draw], Study]] = {
        "three_seeds": lambda draw: both_modes(draw, seeds=3),
        "three_seeds_by_rank": lambda draw: sound(draw, seeds=3, ranks=True),
        "single_runs": lambda draw: both_modes(draw, seeds=1, ideal=True),
    }
    spoken = {name: _spoken(make, studies, seed) for name, make in kinds.items()}
    rules = list(dict.fromkeys(planted.rule for planted in FLAWS))
    return {
        "studies": studies,
        "false_alarms": {rule: {name: shares.get(rule, 0.0) for name, shares in spoken.items()} for rule in rules},
        "unplanted": sorted({rule for shares in spoken.values() for rule in shares} - set(rules)),
        "found": [
            {
                "rule": planted.rule,
                "flaw": planted.flaw,
                "share": _spoken(planted.study, studies, seed + 1).get(planted.rule, 0.0),
            }
            for planted in FLAWS
        ],
    }


def _spoken(make: Callable[[Draw], Study], studies: int, seed: int) -> dict[str, float]:
    """The share of studies in which each rule speaks."""
    counts: dict[str, int] = {}
    for draw in np.random.default_rng(seed).spawn(studies):
        for rule in make(draw).rules():
            counts[rule] = counts.get(rule, 0) + 1
    return {rule: count / studies for rule, count in counts.items()}


def table(result: Mapping[str, Any]) -> list[str]:
    """The lines of the Markdown table."""
    lines = [
        "| rule | flaw planted | found | false alarms: 3 seeds | by rank | ideal single runs |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["found"]:
        alarms = result["false_alarms"][row["rule"]]
        shares = [f"{alarms[kind]:.1%}" for kind in ("three_seeds", "three_seeds_by_rank")]
        single = "(true)" if row["rule"] in EXPECTED_OF_SINGLE_RUNS else f"{alarms['single_runs']:.1%}"
        lines.append(f"| {row['rule']} | {row['flaw']} | {row['share']:.1%} | {' | '.join(shares)} | {single} |")
    return lines


def main() -> int:
    """Print the table, and what made it."""
    parser = options(__doc__)
    parser.add_argument("studies", nargs="?", type=int, default=200)
    args = parser.parse_args()
    result = calibrate(args.studies)
    print("\n".join(table(result)))
    report(result, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
