"""A study to cite, and whether somebody's can be reproduced. An edge."""

import logging
from collections.abc import Mapping, Sequence
from os import PathLike, fsdecode, fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from launchers.checked import to_plain
from launchers.errors import UserError
from launchers.text import some
from vit_sweep.api.results import as_html
from vit_sweep.runs.baseline import parsed_baseline, source_of_parsed
from vit_sweep.runs.sources import Source, from_study
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import open_study
from vit_sweep.submit.reproducing import PART, Published, Rerun, Wish, lines, rerun

if TYPE_CHECKING:
    # They import numpy and rocrate, which `--help` does not need.
    from vit_sweep.analysis.gate.reproducing import Reproduction
    from vit_sweep.report.capsule.build import Capsule

_log = logging.getLogger("vit_sweep")
_NO_CELLS: Mapping[str, str] = {}


class Reproduced(NamedTuple):
    """What a study that ran a capsule again says of it."""

    reproduction: "Reproduction"
    """Its `figures`, `changed`, `left` and `notes` as objects."""
    study: Source
    capsule: str
    cannot_run: Mapping[str, str] = _NO_CELLS
    """Why a published cell cannot run again here, by its id; known where it was to be run."""

    def __repr__(self) -> str:
        return f"<{self.sentence}>"

    @property
    def outcome(self) -> str:
        """`reproduced`, `differs` or `cannot tell`."""
        return self.reproduction.outcome.value

    @property
    def sentence(self) -> str:
        """What it comes to."""
        from vit_sweep.report.tables.comparisons.reproduction import verdict

        return f"{self.study.name} against {self.capsule}: {verdict(self.reproduction)}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What changed, what differs, what nobody can tell, what was not compared, and what could not run here."""
        from vit_sweep.report.tables.comparisons.reproduction import lines as said

        return (*said(self.reproduction), *(f"not run here: {line}" for line in lines(self.cannot_run)))

    def as_data(self) -> dict[str, object]:
        """All of it for programs, as `--json` prints it."""
        head = {"study": self.study.name, "capsule": self.capsule, "outcome": self.outcome, "sentence": self.sentence}
        plain: dict[str, object] = to_plain(self.reproduction)
        return head | {"cannot_run": dict(self.cannot_run)} | plain

    def _repr_html_(self) -> str:
        return as_html(self.outcome, [self.sentence, *self.remarks], [])


def capsule(
    study: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    license: str,
    authors: Sequence[str] = (),
    hosts: bool = True,
    unfinished: bool = False,
) -> "Capsule":
    """Pack a study to be cited (docs/results/capsule.md); returns its `path`, `digest`, `files` and `notes`.

    `out`: FILE.zip or a folder, by default STUDY-capsule.zip here; `license`: an SPDX identifier; `authors`: names,
    perhaps 'NAME <ORCID>', by default git's user.name. Raises `UserError` for a mistake, and without the extras
    `report` and `capsule`; then nothing is written.
    """
    opened = open_study(fsdecode(study))
    require_extra("report")
    require_extra("capsule")
    from vit_sweep.report.capsule.build import Request, make_capsule

    place = Path(fsdecode(out)) if out is not None else Path(f"{opened.name}-capsule.zip")
    people = (authors,) if isinstance(authors, str) else tuple(authors)
    return make_capsule(opened, place, Request(people, license, hosts, unfinished))


def reproduce(
    capsule: str | PathLike[str],
    study: str | PathLike[str] | None = None,
    *,
    run: bool = False,
    cells: int | None = None,
    sample: float = PART,
    seed: int = 0,
    within: float = 0.05,
    across: Sequence[str] = (),
    config_dir: str | PathLike[str] | None = None,
    **words: object,
) -> Reproduced:
    """Judge whether a capsule can be reproduced (docs/results/capsule.md): by `study`, which ran it again, or with
    `run=True` by a sample of its cells that this trains now, in `study` or `NAME-again`.

    `cells` or `sample` (a part): how many run; `seed`: of the draw; `within`: by how much, as a part, times may be
    others; `across`: what may differ; `words`: a partition and settings of a sweep, `partition="local"`. The same call
    goes on where it was stopped. Raises `UserError` for a mistake, for a capsule that is not whole, and without the
    extra `report`.
    """
    path, differing = Path(fspath(capsule)), (across,) if isinstance(across, str) else tuple(across)
    if study is None and not run:
        raise UserError("reproduce: what is the capsule held against? a study that ran it again, or run=True")
    if words and not run:
        raise UserError(f"{next(iter(words))}={next(iter(words.values()))}: words of a sweep go with run=True")
    _require_whole(path)
    if not run:
        return reproduction_of(path, fsdecode(study or ""), within=within, across=differing)
    words |= {"study": fsdecode(study)} if study is not None else {}
    # They import Hydra, which to judge a study does not need.
    from vit_sweep.api.sweeping import of_points
    from vit_sweep.config.python_words import words_of

    own_config = Path(fspath(config_dir)) if config_dir is not None else None
    if words.get("dry_run") or not words.get("wait", True):
        raise UserError("reproduce: it judges what has run; look with the command (dry_run=true), or wait")
    request = Wish(words_of(words, own_config), own_config, differing, cells, sample, seed)
    again = rerun(published(path), request)
    _log.info("%s", sentence_of(again))
    arguments = ["reproduce", str(path), "--run", *request.words]
    ran = of_points(again.points, again.settings, arguments=arguments, overrides=again.overrides)
    return reproduction_of(path, str(ran.folder), within=within, across=again.across, cannot_run=again.left)


def published(path: Path) -> Published:
    """What a capsule says of its study's cells."""
    from vit_sweep.report.capsule.manifest import content_of, contents_of

    study = parsed_baseline(content_of(path, "baseline.json"), f"{path}: baseline.json").study
    contents = contents_of(path, r"outputs/[^/]+/cells/[^/]+/(cell|record)\.json")
    by_file: dict[str, dict[str, bytes]] = {"cell.json": {}, "record.json": {}}
    for name, content in contents.items():
        *_, cell, file = name.split("/")
        by_file[file][cell] = content
    return Published(study, by_file["cell.json"], by_file["record.json"])


def reproduction_of(
    path: Path,
    study: str,
    *,
    within: float,
    across: Sequence[str],
    cannot_run: Mapping[str, str] = _NO_CELLS,
) -> Reproduced:
    """Compare a study with the capsule that it ran again, which must be whole."""
    if not 0 < within <= 1:
        raise UserError(f"within={within:g}: a part of the time, above 0 and at most 1; 0.05 is 5 %")
    require_extra("report")
    from vit_sweep.analysis.gate.reproducing import reproduced
    from vit_sweep.report.capsule.manifest import content_of

    baseline = parsed_baseline(content_of(path, "baseline.json"), f"{path}: baseline.json")
    source = from_study(study)
    reproduction = reproduced(source_of_parsed(baseline, path).runs, source.runs, within=within, across=across)
    return Reproduced(reproduction, source, str(path), cannot_run)


def sentence_of(again: Rerun) -> str:
    """What is about to run, and what it costs."""
    sample = again.sample
    names = some((offer.cell_id for offer in sample.chosen), 6)
    too_costly = f"; {len(sample.dear)} more would not fit into them" if sample.dear else ""
    return (
        f"to run again: {len(sample.chosen)} of {again.published} cells, about {sample.gpu_hours:.3g} of at most "
        f"{again.budget:g} GPU-hours (budget_gpu_hours){too_costly}: {names}"
    )


def _require_whole(path: Path) -> None:
    from vit_sweep.report.capsule.manifest import verify

    if wrong := verify(path).wrong:
        raise UserError(f"{path} is not whole: {some(wrong, 3, separator='; ')}")
