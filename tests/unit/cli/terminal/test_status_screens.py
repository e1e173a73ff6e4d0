"""What a sweep under way looks like on two terminals, in a log and to a program: what is left, and what says so."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from rich.console import Console
from rich.text import Text

from tests.conftest import ROOT
from tests.unit.builders import cell, record, result
from vit_sweep.cli.terminal import progress, show_status
from vit_sweep.outcome.ending import Progress
from vit_sweep.plan.waiting.forecast_file import StartForecast
from vit_sweep.report.tables.status import forecast

GOLDEN = ROOT / "tests" / "golden" / "status"
NOW = datetime(2025, 1, 1, 0, 4, tzinfo=UTC)


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The hour of the end is that of the reader's clock."""
    monkeypatch.setattr(show_status, "datetime", _Utc)


class _Utc(datetime):
    def astimezone(self, tz=UTC):
        return super().astimezone(tz)


def clock(now, seconds):
    return (now - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def study(now=NOW):
    """One cell done, one in its second epoch, one that has just begun, two that wait."""
    done, trains, begins, *wait = (cell(seed=seed, epochs=4) for seed in range(5))
    trained = {"at": clock(now, 10), "steps": 100, "trained_steps": 100, "trained_s": 20.0}
    at = Progress(phase="training", epoch=2, epochs=4, host="n1", started_at=clock(now, 33), **trained)
    new = Progress(phase="starting", epoch=0, epochs=4, host="n2", started_at=clock(now, 3))
    return [
        result(done, record=record(done, started_at=clock(now, 103), job_s=83.0)),
        replace(result(trains, status="running", detail="training"), attempt="1", progress=at),
        replace(result(begins, status="running", detail="starting"), attempt="1", progress=new),
        *(result(waits, status="queued") for waits in wait),
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("view", ["status", "running"])
def test_a_screen_says_what_is_left_of_each_running_cell_and_of_all_and_from_what(view, width, request):
    results = study()
    expected = forecast(results, None, now=NOW)
    console = Console(width=width, record=True, markup=False, highlight=False, file=io.StringIO())
    if view == "status":
        console.print(show_status.status("s", results, expected, now=NOW))
    else:
        console.print(show_status.running(results, expected, rows=2, now=NOW))
    screen = "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"
    golden = GOLDEN / f"{view}_{width}.txt"
    if request.config.getoption("--renew-golden"):
        golden.write_text(screen)
    assert screen == golden.read_text(), "--renew-golden writes it anew"
    assert max(map(len, screen.splitlines())) <= width


@pytest.mark.parametrize(("width", "height"), [(60, 10), (80, 24), (200, 50)])
def test_the_live_view_has_as_many_rows_as_its_terminal_has_room_for_and_no_more(width, height, request):
    """Forty cells that wait, and those of a study under way: some of them have ended, with the time that they took."""
    results = [*study(), *(result(cell(seed=seed), status="queued") for seed in range(10, 50))]
    expected = forecast(results, None, now=NOW)
    screen = progress.Screen(results, expected, above=Text("cells 1/45"), now=NOW)
    console = Console(width=width, height=height, record=True, markup=False, highlight=False, file=io.StringIO())
    console.print(screen)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert height - 4 < len(lines) < height
    golden = GOLDEN / f"live_{width}x{height}.txt"
    if request.config.getoption("--renew-golden"):
        golden.write_text("\n".join(lines) + "\n")
    assert lines == golden.read_text().splitlines(), "--renew-golden writes it anew"


def test_the_live_view_shows_all_there_is_where_there_is_room():
    results = study()
    screen = progress.Screen(results, forecast(results, None, now=NOW), above=Text("cells"), now=NOW)
    console = Console(width=100, height=60, record=True, file=io.StringIO())
    console.print(screen)
    text = console.export_text()
    assert all(one.file.cell_id in text for one in results)
    assert "strong scaling so far" in text
    assert "more" not in text


def test_where_nothing_is_known_no_screen_says_anything_of_it():
    results = [result(cell(), status="queued")]
    expected = forecast(results, None, now=NOW)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(show_status.status("s", results, expected, now=NOW))
    assert " left, " not in console.export_text()


def large():
    """Sixty cells of two GPU counts and 30 seeds: one trains, two have failed, the others are done or wait."""
    cells = [cell(gpus=gpus, nodes=1, seed=seed, epochs=4) for gpus in (1, 2) for seed in range(30)]
    trains, broken, *others = cells
    at = Progress(phase="training", epoch=2, epochs=4, host="n1", started_at=clock(NOW, 33))
    return [
        replace(result(trains, status="running", detail="training"), attempt="1", progress=at),
        result(broken, status="failed", detail="bug: it broke"),
        *(result(one, record=record(one, job_s=83.0)) for one in others[:20]),
        *(result(one, status="queued") for one in others[20:-1]),
        result(others[-1], status="out_of_memory", detail="out of memory"),
    ]


def test_many_cells_are_counted_by_what_varies_and_those_at_work_or_gone_wrong_are_named(request):
    results = large()
    expected = forecast(results, None, now=NOW)
    console = Console(width=80, record=True, markup=False, highlight=False, file=io.StringIO())
    assert show_status.is_folded(results)
    assert not show_status.is_folded(study())
    console.print(show_status.folded("s", results, expected, now=NOW))
    screen = "\n".join(line.rstrip() for line in console.export_text().splitlines()) + "\n"
    golden = GOLDEN / "folded_80.txt"
    if request.config.getoption("--renew-golden"):
        golden.write_text(screen)
    assert screen == golden.read_text(), "--renew-golden writes it anew"
    named = {one.file.cell_id for one in results if one.file.cell_id in screen}
    assert named == {one.file.cell_id for one in (results[0], results[1], results[-1])}
    assert "seed" not in screen  # thirty rows would say nothing


def test_a_program_reads_what_is_left_and_the_end_in_utc():
    results = study()
    told = show_status.as_data("s", results, forecast(results, None, now=NOW), [], now=NOW)
    runs = next(one for one in told["cells"] if one["epoch"] == 2)
    assert (runs["seconds_left"], runs["eta"]) == (50.0, "2025-01-01T00:04:50+00:00")
    assert runs["basis"] == "from its own epochs"
    assert (told["seconds_left"], told["eta"]) == (80.0 + 83.0, "2025-01-01T00:06:43+00:00")
    waits = told["cells"][-1]
    assert (waits["seconds_left"], waits["eta"], waits["basis"]) == (None, None, None)


def log_of(looks):
    """What a log says of one look after the other."""
    out = io.StringIO()
    progress._lines(looks, lambda seen, now: forecast(seen, None, now=now), Console(file=out, width=160, markup=False))
    return out.getvalue()


def test_a_log_shows_the_scaling_so_far_after_two_cells_then_after_four_and_never_after_the_last():
    cells = [cell(gpus=gpus, seed=seed) for seed in (0, 1, 2) for gpus in (1, 2)]

    def look(done):
        """The first so many cells are done, the others wait."""
        return [
            result(one, record=record(one)) if number < done else result(one, status="queued")
            for number, one in enumerate(cells)
        ]

    text = log_of([look(done) for done in (0, 1, 2, 2, 3, 4, 5, 6)])
    lines = text.splitlines()
    shown = [number for number, line in enumerate(lines) if line.startswith("strong scaling so far")]
    before = [next(line for line in reversed(lines[:number]) if "ended" in line) for number in shown]
    assert [line.split("]")[1].split()[0] for line in before] == ["2/6", "4/6"]
    assert "epoch s" in text


def test_what_is_to_be_done_meanwhile_is_done_once_and_only_where_something_is_waited_for():
    waits, over = [result(cell(), status="queued")], [result(cell(), record=record(cell()))]
    for looks, times in (([waits, waits, over], 1), ([over], 0)):
        meanwhile = Mock()
        assert list(progress._preparing(looks, meanwhile)) == looks
        assert meanwhile.call_count == times


def test_a_log_says_it_once_a_look_and_in_no_line_of_its_own():
    going = study(datetime.now(UTC))
    over = [result(r.file.cell, record=record(r.file.cell, job_s=83.0)) for r in going]
    out = io.StringIO()
    console = Console(file=out, width=160, markup=False)
    looks = [going, going, over]
    progress._lines(looks, lambda seen, now: forecast(seen, None, now=now), console)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + 3 + 4
    said = [line for line in lines if " left, until " in line]
    assert said == [lines[3]]
    assert "from the running cells' own epochs and 1 cell that ended" in said[0]


def test_why_cells_wait_is_said_once_for_each_reason_in_a_log(capsys):
    reason = "waits for cores of study /elsewhere (process 7) since 2026-01-01 05:24"
    waiting = [result(cell(seed=seed), status="queued", detail=reason) for seed in range(3)]
    unexplained = [replace(one, detail="") for one in waiting]
    progress._lines([unexplained, waiting, waiting], lambda results, now: forecast(results, None, now=now), Console())
    lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert lines == [f"3 cells queued: {reason}"]


def test_a_long_reason_that_holds_for_several_rows_stands_in_the_first_one():
    reason = "waits for cores of study /elsewhere (process 7) since 2026-01-01 05:24"
    waiting = [result(cell(seed=seed), status="queued", detail=reason) for seed in range(3)]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(show_status.running(waiting, forecast(waiting, None, now=NOW), rows=9, now=NOW))
    shown = console.export_text()
    assert (shown.count(reason), shown.count("as above")) == (1, 2)


# --- expected starts ----------------------------------------------------------------------------------

SAID = StartForecast(
    said_at="2025-01-01T00:04:00+00:00",
    start="2025-01-01T01:30:00+00:00",
    earliest="2025-01-01T00:04:00+00:00",
    latest="2025-01-02T02:00:00+00:00",
    basis="Slurm's plan, no earlier job of this study to correct it by",
    said_start="2025-01-01T01:30:00+00:00",
)


def test_when_a_cell_starts_is_said_with_its_interval_and_who_says_so(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    waits = replace(result(cell(), status="queued", detail="Resources"), expected=SAID)
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(show_status.status("s", [waits], forecast([waits], None, now=NOW), now=NOW))
    assert (
        "Resources; expected to start about 01:30 (00:04 to 2025-01-02 02:00): Slurm's plan, no earlier job of this "
        "study to correct it by" in console.export_text()
    )


def test_programs_are_told_when_a_cell_is_expected_to_start_and_null_where_nobody_knows():
    known, unknown = replace(result(cell(), status="queued"), expected=SAID), result(cell(seed=1), status="queued")
    told = show_status.as_data("s", [known, unknown], forecast([known, unknown], None, now=NOW), [], now=NOW)
    keys = ("expected_start", "expected_start_low", "expected_start_high", "expected_start_basis")
    assert [told["cells"][0][key] for key in keys] == [SAID.start, SAID.earliest, SAID.latest, SAID.basis]
    assert [told["cells"][1][key] for key in keys] == [None] * 4


def test_a_log_says_once_for_each_reason_when_the_first_cell_starts(capsys):
    ahead = replace(SAID, start="2999-01-01T01:30:00+00:00", latest="2999-01-02T02:00:00+00:00")
    later = replace(ahead, start="2999-01-01T02:00:00+00:00")
    waiting = [result(cell(seed=seed), status="queued", detail="Priority") for seed in range(2)]
    expected = [replace(one, expected=said) for one, said in zip(waiting, (later, ahead), strict=True)]
    moved = [replace(one, expected=later) for one in waiting]
    looks = [waiting, expected, moved]
    progress._lines(looks, lambda results, now: forecast(results, None, now=now), Console())
    lines = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert lines[0] == "2 cells queued: Priority"
    assert len(lines) == 2
    assert lines[1].startswith("2 cells queued: Priority; the first is expected to start about 2999-01-01 01:30 (")
