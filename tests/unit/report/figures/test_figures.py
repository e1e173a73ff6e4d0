"""Figures: one for each kind of data, honest about what is missing, readable in grey, the same bytes each time."""

import gc
import os
import random
import re
import zlib
from collections import Counter
from dataclasses import replace
from io import BytesIO
from itertools import combinations, pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends import backend_agg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Sheet
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from PIL import Image

from tests.unit.analysis.builders import run, series_from, without_time
from tests.unit.report.figures.figure_study import series_of, study
from tests.unit.report.tables.test_tables import SIZED, sized
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import cells_of, with_all_intervals, with_intervals
from vit_sweep.analysis.series.spreads import Spreads
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.predict.memory import CONTEXT_GIB
from vit_sweep.record.learning import Reached
from vit_sweep.record.record import CERTIFIED_WITHIN, Certificate
from vit_sweep.record.stats import SlowestRank, StepParts
from vit_sweep.report import figures
from vit_sweep.report.figure import FORMATS, SWITCH, Skipped
from vit_sweep.report.figures import cost, curves, isoefficiency, nodes, parts, placement, speedup, times
from vit_sweep.report.figures.fills import FILLS, UNKNOWN, parts_of
from vit_sweep.report.figures.nodes import NODE_FILLS, node_fill
from vit_sweep.report.figures.overlay import Quantity, draw_simulated
from vit_sweep.report.figures.runs import engines, memory, optimizers, ranks, resolutions, roofline, steps
from vit_sweep.report.figures.sheet import axes as axes_of_a_sheet
from vit_sweep.report.figures.sheet import vector
from vit_sweep.report.figures.sheet.panels import arrange
from vit_sweep.report.figures.sheet.save import settle
from vit_sweep.report.figures.sheet.style import (
    COLORS,
    DASHES,
    MARKERS,
    MOST_STYLES,
    curve_styles,
    lightness,
    theme,
    value_axis,
)
from vit_sweep.report.tables.accuracy import accuracy_table
from vit_sweep.report.tables.all_tables import tables_of

POOL_NO_TIMES = {"accuracy_batch", "accuracy_epoch", "memory", "ranks", "roofline"}
"""Of accuracy and memory, or one place for each run."""
KINDS = {
    "strong_time",
    "strong_parts",
    "strong_speedup",
    "strong_efficiency",
    "weak_time",
    "weak_parts",
    "weak_efficiency",
    "batch_time",
    "accuracy_batch",
    "accuracy_epoch",
    "nodes_time",
    "placement",
    "cost_time",
    "isoefficiency",
    "memory",
    "ranks",
    "steps",
    "roofline",
}


def draw(runs, folder, **others):
    """All figures of some runs, by name."""
    strong, weak = (series_of(runs, mode) for mode in Scaling)
    return {drawn_figure.name: drawn_figure for drawn_figure in figures.draw_all(strong, weak, runs, folder, **others)}


@pytest.fixture(scope="module")
def runs():
    """One repeat on every two GPUs waited for cores that others had."""
    flags = ("host contended: rank 0 on node0 (no core for 23% of the time, load 13.0 on 8 cores)",)
    made = study(gpus=(1, 2, 4), repeats=2, epochs=2)
    return [replace(each, flags=flags) if each.gpus == 2 and each.run_id.endswith("r0") else each for each in made]


@pytest.fixture(scope="module")
def drawn(runs, tmp_path_factory):
    made = draw(runs, tmp_path_factory.mktemp("figures"))
    assert "no work was done by several engines" in made.pop("engines").reason
    assert "no two image sizes" in made.pop("resolutions").reason
    assert "no work was done by several optimizers" in made.pop("optimizers").reason
    return made


@pytest.fixture
def only(monkeypatch):
    """Of all figures draw those alone that a test looks at, by the names of their functions."""

    def choose(*drawers):
        for name in {name for name in vars(figures) if name.startswith("draw_")} - {"draw_all", *drawers}:
            monkeypatch.setattr(figures, name, lambda *_, **__: Skipped(name="none", reason="not looked at"))

    return choose


@pytest.fixture
def unprinted(monkeypatch):
    """Figures are described, but nobody lays them out and their files stay empty: much faster."""
    monkeypatch.setattr(Sheet, "get_layout_engine", lambda sheet: None)
    monkeypatch.setattr("vit_sweep.report.figures.sheet.save._print", lambda sheet, files, metadata: None)


@pytest.fixture
def sheets(monkeypatch):
    """The sheets that a test draws, caught before they are written; who measures on one draws it first."""
    caught: dict[str, Sheet] = {}

    def save(sheet, folder, name, *, title, caption, alt, pooled):
        caught[name] = sheet
        return figures.Figure(name=name, title=title, caption=caption, alt=alt, paths={})

    drawers = (
        times,
        speedup,
        parts,
        nodes,
        placement,
        cost,
        isoefficiency,
        engines,
        memory,
        optimizers,
        ranks,
        resolutions,
        steps,
    )
    for module in drawers:
        monkeypatch.setattr(module, "save", save)
    with theme():
        yield caught


def test_a_whole_study_gives_every_kind_of_figure_in_three_formats(drawn):
    assert set(drawn) == KINDS
    for figure in drawn.values():
        assert isinstance(figure, figures.Figure), figure
        svg, png, pdf = (figure.paths[suffix].read_bytes() for suffix in FORMATS)
        assert png.startswith(b"\x89PNG")
        assert b"</svg>" in svg
        assert pdf.startswith(b"%PDF")
        assert figure.caption.endswith(".")
        assert figure.alt.endswith(".")


def test_a_png_has_300_dots_an_inch_whatever_was_drawn_before_it(drawn):
    figure = drawn["strong_time"]
    points = ElementTree.parse(figure.paths[".svg"]).getroot().get("width")
    with Image.open(figure.paths[".png"]) as picture:
        assert picture.width == pytest.approx(float(points.removesuffix("pt")) * 300 / 72, abs=1)


def test_a_pdf_embeds_truetype_fonts_only(drawn):
    pdf = drawn["strong_time"].paths[".pdf"].read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_the_fonts_of_a_pdf_hold_what_draws_glyphs_and_no_rules_of_typesetting(drawn):
    pdf = drawn["strong_time"].paths[".pdf"].read_bytes()
    packed = re.findall(rb"/FlateDecode.*?stream\n(.*?)\nendstream", pdf, re.DOTALL)
    streams = [zlib.decompress(part) for part in packed]
    fonts = [set(TTFont(BytesIO(stream)).keys()) for stream in streams if stream.startswith(b"\0\1\0\0")]
    assert fonts
    for tables in fonts:
        assert {"glyf", "loca", "hmtx", "fpgm"} <= tables
        assert not tables & {"GDEF", "GPOS", "GSUB", "MATH", "kern"}


def test_the_same_runs_in_any_order_draw_the_same_bytes(runs, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv(SWITCH, "svg")
    again = draw(random.Random(1).sample(runs, len(runs)), tmp_path)
    for name, figure in drawn.items():
        assert again[name].paths[".svg"].read_bytes() == figure.paths[".svg"].read_bytes(), name


def test_all_formats_have_the_same_bytes_again(tmp_path):
    strong = series_of([run(1), run(2, (6.0,))], Scaling.STRONG)
    with theme():
        once, again = (times.draw_time(Scaling.STRONG, strong, tmp_path / name).paths for name in ("once", "again"))
    for suffix in FORMATS:
        assert once[suffix].read_bytes() == again[suffix].read_bytes(), suffix


def test_a_figure_is_laid_out_once_and_drawn_once_in_pixels_and_once_for_svg_and_pdf(tmp_path, monkeypatch):
    counts = Counter()

    def counted(owner, name):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **named: counts.update([name]) or real(*given, **named))

    counted(ConstrainedLayoutEngine, "execute")
    counted(Sheet, "draw")
    with theme():
        times.draw_time(Scaling.STRONG, series_of([run(1), run(2, (6.0,))], Scaling.STRONG), tmp_path)
    assert counts == {"execute": 1, "draw": 2}


@pytest.mark.parametrize("draw_one", [times.draw_time, parts.draw_parts])
def test_svg_and_pdf_of_one_drawing_are_those_of_two(draw_one, runs):
    """SVG to the byte; in the PDF text may lie a tenth of a point aside."""

    def numbers(pdf):
        (page, *_) = (
            zlib.decompress(m[1]) for m in re.finditer(rb"stream\n(.*?)\nendstream", pdf.getvalue(), re.DOTALL)
        )
        return re.split(rb"(-?\d+\.?\d*)", page)

    with theme():
        sheet = draw_one(Scaling.STRONG, series_of(runs, Scaling.STRONG), None).sheet
        settle(sheet)
        svg, pdf, svg_alone, pdf_alone = (BytesIO() for _ in range(4))
        vector.print_both(sheet, svg, pdf, of_svg={"Date": None}, of_pdf={"CreationDate": None})
        FigureCanvasSVG(sheet).print_svg(svg_alone, metadata={"Date": None})
        FigureCanvasPdf(sheet).print_pdf(pdf_alone, metadata={"CreationDate": None})
    assert svg.getvalue() == svg_alone.getvalue()
    ours, alone = numbers(pdf), numbers(pdf_alone)
    assert len(ours) > 1000 and ours[::2] == alone[::2]
    assert [float(n) for n in ours[1::2]] == pytest.approx([float(n) for n in alone[1::2]], abs=0.1)


def test_figures_drawn_by_two_processes_are_those_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv(SWITCH, "svg,pdf")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    runs = [run(1), run(2, (6.0,)), run(4, (3.2,))]
    strong = series_of(runs, Scaling.STRONG)
    one, two = (
        {drawn.name: drawn for drawn in figures.draw_all(strong, [], runs, tmp_path / str(alone), alone=alone)}
        for alone in (True, False)
    )
    assert list(one) == list(two)
    assert {type(drawn).__name__ for drawn in one.values()} == {"Figure", "Skipped"}
    for name, drawn in one.items():
        assert drawn.paths.keys() == two[name].paths.keys()
        for suffix, path in drawn.paths.items():
            assert path.read_bytes() == two[name].paths[suffix].read_bytes(), name


def test_formats_that_are_not_wanted_are_neither_drawn_nor_left_out_of_date(unprinted, tmp_path, monkeypatch):
    runs = [run(1), run(2, (6.0,))]
    draw(runs, tmp_path)
    monkeypatch.setenv(SWITCH, "pdf")
    drawn_figure = draw(runs, tmp_path)["strong_speedup"]
    assert set(drawn_figure.paths) == {".svg", ".pdf"}, "the one that a page shows is always there"
    assert {path.name for path in tmp_path.glob("strong_speedup.*")} == {"strong_speedup.svg", "strong_speedup.pdf"}


def test_no_file_holds_a_date(drawn):
    for figure in drawn.values():
        assert b"<dc:date>" not in figure.paths[".svg"].read_bytes()
        assert b"CreationDate" not in figure.paths[".pdf"].read_bytes()


def test_a_failure_while_writing_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path, monkeypatch):
    once, again = (series_of([run(1), run(2, (seconds,))], Scaling.STRONG) for seconds in (6.0, 7.0))
    with theme():
        first = times.draw_time(Scaling.STRONG, once, tmp_path).paths[".svg"]
    before = first.read_bytes()

    def broken(sheet, files, metadata):
        files[".svg"].write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("vit_sweep.report.figures.sheet.save._print", broken)
    with theme(), pytest.raises(OSError, match="disk full"):
        times.draw_time(Scaling.STRONG, again, tmp_path)
    assert first.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_alt_texts_say_the_numbers(unprinted, tmp_path):
    series = series_from({1: (100.0,), 2: (52.0,), 4: (30.0,)})
    made = {figure.name: figure for figure in figures.draw_all([series], [], [], tmp_path)}
    assert "100 s on 1 GPU, 30.0 s on 4 GPUs" in made["strong_time"].alt
    assert "speedup 3.33, efficiency 83.3% on 4 GPUs" in made["strong_speedup"].alt
    # 4 GPUs x 30 s = 0.0333 GPU-hours, 100 s on one 0.0278.
    assert "fastest 4 GPUs with 30.0 s and 0.0333 GPU-hours" in made["cost_time"].alt
    assert "cheapest 1 GPU with 100 s and 0.0278 GPU-hours" in made["cost_time"].alt


def test_alt_texts_of_memory_parts_and_ranks_say_the_numbers(unprinted, tmp_path):
    step = StepParts(forward=20.0, backward=50.0, optimizer=10.0, communication=20.0)
    runs = [
        run(1, memory_mib=2048.0, memory_predicted_mib=2000.0, parts=step, micro_batch=16),
        run(
            2,
            (6.0,),
            memory_mib=4096.0,
            memory_predicted_mib=4096.0,
            parts=step,
            micro_batch=16,
            compute_ms_by_rank=(100.0, 150.0),
        ),
    ]
    made = draw(runs, tmp_path)
    assert "compute 80%, communication 20%" in made["strong_parts"].alt
    assert "2.00 GiB at 16 images per GPU; 4.00 GiB" in made["memory"].alt
    assert "+0% to +2% over 2 runs" in made["memory"].alt
    # Against the median of 100 and 150.
    assert "rank 1 of a run on 2 GPUs: 150 ms against 125 ms, 20% more" in made["ranks"].alt


@pytest.mark.parametrize("dpi", [60, 130, 300])
def test_a_figure_in_python_has_its_letters_inside_at_any_resolution(dpi):
    runs = [run(gpus=2, seed=seed, compute_ms_by_rank=(10.0, 11.0)) for seed in range(6)]
    runs = [replace(run, conditions=(*run.conditions, ("model", f"of_many_letters_{run.seed}"))) for run in runs]
    with figures.theme():
        sheet = ranks.draw_ranks(runs, None).sheet
    page = BytesIO()
    sheet.savefig(page, dpi=dpi)
    with Image.open(page) as picture:
        edge = picture.convert("L").crop((0, 0, 1, picture.height))
    assert edge.getextrema() == (255, 255)


def test_parts_of_an_epoch_are_median_parts_of_a_step_times_its_steps():
    # 6,400 images in steps of 2 x 16: 200 steps.
    runs = [
        run(2, parts=StepParts(forward=f, backward=10.0, communication=4.0, data_wait=1.0)) for f in (5.0, 7.0, 6.0)
    ]
    parts_ms = parts_of(runs)
    assert parts_ms == {
        "compute": pytest.approx(3.2),
        "communication": pytest.approx(0.8),
        "waiting for slow ranks": 0.0,
        "data wait and copy": pytest.approx(0.2),
        "other": 0.0,
        UNKNOWN.name: 0.0,
    }


def test_one_gpu_has_no_communication_in_its_bar():
    """Reducing its own gradients is copying: nothing is sent."""
    parts_ms = parts_of([run(1, parts=StepParts(forward=5.0, communication=4.0, other=1.0))])
    assert (parts_ms["communication"], parts_ms["other"]) == (0.0, pytest.approx(2.0))


def test_bars_are_of_the_one_slowest_rank_and_not_of_the_most_of_every_phase():
    own = {"data_wait": 0.0, "copy": 0.0, "forward": 5.0, "backward": 1.0, "communication": 2.0, "wait": 1.0}
    slowest = SlowestRank(rank=1, **own, optimizer=0.0, other=1.0)
    parts_s = parts_of([run(2, parts=StepParts(forward=5.0, backward=50.0, other=30.0, slowest=slowest))])
    assert sum(parts_s.values()) == pytest.approx(200 * 0.010)


def test_bars_of_one_count_on_different_nodes_are_not_batches_and_say_their_nodes(tmp_path):
    known = {"parts": StepParts(forward=5.0, backward=10.0, communication=1.0)}
    runs = [run(g, (10.0 / g,), nodes=n, run_id=f"{g}on{n}", **known) for g, n in ((1, 1), (2, 1), (2, 2))]
    assert isinstance(parts.draw_batches(series_of(runs, Scaling.STRONG), tmp_path), Skipped)
    figure = parts.draw_parts(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    assert "2 GPUs on 2 nodes" in figure.alt


def test_titles_name_an_engine_and_not_all_that_its_name_says(sheets, tmp_path):
    """Twelve panels whose titles list every switch of an engine lie over each other's axes."""
    runs = [
        run(
            gpus,
            (10.0 / gpus,),
            micro_batch=batch,
            run_id=f"{stage}-{gpus}-{batch}",
            conditions={"engine": f"zero{stage}", "engine.zero_stage": f"{stage}", "engine.bucket": f"{stage}00000"},
        )
        for stage in (1, 2)
        for gpus in (1, 2)
        for batch in (16, 32)
    ]
    parts.draw_batches(series_of(runs, Scaling.STRONG), tmp_path)
    titles = [axes.get_title() for axes in sheets["batch_time"].axes]
    assert titles == ["zero1, 1 GPU", "zero1, 2 GPUs", "zero2, 1 GPU", "zero2, 2 GPUs"]


def test_costs_are_compared_from_zero(sheets, tmp_path):
    cost.draw_cost(series_of([run(1, (10.0,)), run(2, (5.1,)), run(4, (2.6,))], Scaling.STRONG), tmp_path)
    bottom, top = sheets["cost_time"].axes[0].get_ylim()
    assert bottom == 0 and 10.4 / 3600 < top < 13 / 3600


def test_only_what_is_flagged_as_superlinear_is_called_above_the_ideal(unprinted, tmp_path):
    """Efficiencies of 101 % lie within what repeats differ by, 125 % beyond it."""
    captions = {}
    for second in (4.95, 4.0):
        curves = [with_intervals(curve) for curve in group([run(1, (10.0,)), run(2, (second,))], Scaling.STRONG)]
        drawn = figures.draw_all(curves, [], [], tmp_path)
        captions[second] = " ".join(getattr(figure, "caption", "") for figure in drawn)
    assert "Above the ideal" not in captions[4.95]
    assert "2 GPUs (125%: superlinear" in captions[4.0]


def test_every_figure_that_pools_times_names_the_contended_runs_among_quiet_ones(drawn):
    noted = {name for name, figure in drawn.items() if "Host contended" in " ".join(getattr(figure, "notes", ()))}
    assert noted == KINDS - POOL_NO_TIMES
    assert "strong-g2-b16-packed-zero0-r0" in drawn["placement"].notes[0]


def test_floors_are_drawn_where_they_were_measured_and_not_far_below(sheets, tmp_path):
    """64 GFLOP at 1 TFLOP/s are 64 ms, times 400 steps of an epoch 25.6 s; a link of 1e6 GB/s takes next to nothing."""
    known = {"step_flop": 64e9, "matmul_tflops": 1.0, "bytes_per_step": 1e9, "bus_gb_per_s": 1e6}
    runs = [run(1, (40.0,), **known), run(2, (24.0,), **known), run(4, (20.0,), step_ms=50.0, **known)]
    made = times.draw_time(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    assert " 1 run gives no bound: " in made.caption, "a step of 50 ms is below the 64 ms of the preflight"
    (axes,) = sheets["strong_time"].axes
    dotted = [line for line in axes.get_lines() if list(line.get_xdata()) == [1, 2]]
    assert [list(line.get_ydata()) for line in dotted] == [pytest.approx([25.6, 12.8])]
    assert any("matrix products" in text for text in legend_of(sheets["strong_time"]))
    assert not any("all-reduces" in text for text in legend_of(sheets["strong_time"]))


def test_the_distribution_of_steps_is_that_of_the_run(sheets, tmp_path):
    ladder = tuple(10.0 + percent for percent in range(101))
    steps.draw_steps(series_of([run(2, step_percentiles=" ".join(map(str, ladder))), run(4)], Scaling.STRONG), tmp_path)
    (line,) = sheets["steps"].axes[0].get_lines()
    assert line.get_xdata()[50] == 60.0 and line.get_ydata()[50] == 0.5
    assert [line.get_ydata()[place] for place in line.get_markevery()] == [0.5, 0.95, 0.99]


def test_only_steps_of_repeats_are_averaged(sheets, tmp_path):
    """Steps of 10 and 20 ms are repeats, 15 ms together; another placement and another GPU are not."""

    def flat(ms, seed, **others):
        return run(2, seed=seed, step_percentiles=" ".join([str(ms)] * 101), **others)

    runs = [
        flat(10.0, 0, devices=("T4", "T4")),
        flat(20.0, 1, devices=("T4", "T4")),
        flat(90.0, 2, devices=("T4", "T4"), placement="spread", nodes=2),
        flat(500.0, 3, devices=("P4", "P4")),
    ]
    steps.draw_steps(series_of([run(1, devices=("T4",)), *runs], Scaling.STRONG), tmp_path)
    drawn_ms = [line.get_xdata()[50] for axes in sheets["steps"].axes for line in axes.get_lines()]
    assert sorted(drawn_ms) == [15.0, 90.0]


def test_bounds_of_speedup_are_the_baselines_time_over_the_floors_and_only_near_the_ideal(sheets, tmp_path):
    """40 s over 25.6 and 12.8 s are 1.5625 and 3.125; the link allows far more than twice the ideal."""
    known = {"step_flop": 64e9, "matmul_tflops": 1.0, "bytes_per_step": 1e9, "bus_gb_per_s": 1e3}
    runs = [run(1, (40.0,), **known), run(2, (24.0,), **known), run(4, (20.0,))]
    speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    (axes,) = sheets["strong_speedup"].axes
    bounds = [list(line.get_ydata()) for line in axes.get_lines() if list(line.get_xdata()) == [1, 2]]
    assert bounds == [pytest.approx([1.5625, 3.125])]
    assert not any("all-reduces" in text for text in legend_of(sheets["strong_speedup"]))
    # Of two counts the axis ends below 2.4, and the bounds of 2.5 and 3.1 are not in sight.
    known |= {"matmul_tflops": 1.6}
    runs = [run(1, (40.0,), **known), run(2, (38.0,), **known | {"matmul_tflops": 1.0})]
    speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    assert not any("alone" in text for text in legend_of(sheets["strong_speedup"]))


def test_captions_say_n_and_what_the_bars_are(sheets, tmp_path):
    single = times.draw_time(Scaling.STRONG, [series_from({1: (10.0,), 2: (6.0,)})], tmp_path)
    assert "n=1: one run a point, so no interval" in single.caption
    repeated = [run(g, (t + s, t - s / 2), seed=s) for g, t in ((1, 10.0), (2, 6.0)) for s in range(3)]
    several = times.draw_time(Scaling.STRONG, series_of(repeated, Scaling.STRONG), tmp_path)
    assert "Bars: 95% intervals over 3 runs a point" in several.caption
    strong = series_of(repeated, Scaling.STRONG)
    ratio = speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, strong, tmp_path)
    assert "over 3 runs a point." in ratio.caption, "a baseline is 1 by definition, whatever its n"


def test_bars_say_whose_parts_they_are_and_what_hides_communication_only_where_it_is_hidden(sheets, tmp_path):
    own = dict.fromkeys(("data_wait", "copy", "forward", "backward", "wait", "optimizer", "other"), 1.0)

    def caption(*known):
        runs = [run(gpus, parts=StepParts(forward=5.0, **parts)) for gpus, parts in zip((1, 2), known, strict=True)]
        return parts.draw_parts(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path).caption

    none, some = ({"slowest": SlowestRank(rank=0, communication=ms, **own)} for ms in (None, 1.0))
    measured = caption(none, some)
    assert "of the rank that computes longest" in measured
    assert "hides" not in measured, "one GPU has no communication, but none is hidden"
    assert "hides" in caption(some, none)
    assert "as their source has them" in caption(some, {"communication": 1.0})


def test_the_roof_that_a_point_is_held_against_in_words_is_that_of_its_own_preflight(unprinted, tmp_path):
    runs = [
        run(gpus, step_ms=step_ms, step_flop=1e12, moved_bytes=1e10, matmul_tflops=50.0, memory_gb_per_s=memory)
        for gpus, step_ms, memory in ((1, 50.0, 1000.0), (2, 40.0, 300.0))
    ]
    figure = draw(runs, tmp_path)["roofline"]
    assert "Nearest to the roof of its own preflight is one on 2 GPUs: 25.0 of 30.0 TFLOP/s" in figure.alt


def test_each_precision_has_the_roof_of_its_own_products():
    """Products of fp32 do not reach what those of 16 bits do; two lines where only one would be seen are one."""
    rates = {"fp32": (45.0, 51.0), "tf32": (386.0,), "bf16": (780.0,), "fp16": (720.0,)}
    runs = [run(1, conditions={"precision": name}, matmul_tflops=rate) for name, many in rates.items() for rate in many]
    roofs = roofline._roofs(runs)
    assert roofs == {"fp32": 51.0, "tf32": 386.0, "bf16": 780.0, "fp16": 720.0}
    assert roofline._alike(roofs) == [["bf16", "fp16"], ["tf32"], ["fp32"]]


def test_accuracies_of_runs_that_stopped_early_join_no_median_of_whole_ones(unprinted, tmp_path):
    runs = [
        run(1, seed=0, epochs_requested=2, epochs_done=2, test_accuracy=(0.1, 0.2)),
        run(2, seed=0, epochs_requested=2, epochs_done=2, test_accuracy=(0.1, 0.4)),
        run(2, seed=1, epochs_requested=2, epochs_done=1, test_accuracy=(0.1,)),
    ]
    made = draw(runs, tmp_path)
    for name in ("accuracy_batch", "accuracy_epoch"):
        assert "40.0% at" in made[name].alt
        assert made[name].caption.endswith("Without 1 run that stopped early.")
    alone = draw([runs[0], runs[2]], tmp_path)["accuracy_epoch"]
    assert "2 GPUs: 10.0% at epoch 1." in alone.alt and "early" not in alone.caption


def test_neighbouring_fills_and_colours_differ_in_lightness():
    """Threshold in CIE L*, of 100: fills touch each other, curves also have marker and dash."""
    for first, second in pairwise(FILLS):
        assert abs(lightness(first.color) - lightness(second.color)) >= 25, (first.name, second.name)
    for first, second in combinations(FILLS, 2):
        assert abs(lightness(first.color) - lightness(second.color)) >= 10, (first.name, second.name)
    for first, second in pairwise(NODE_FILLS):
        assert abs(lightness(first[0]) - lightness(second[0])) >= 25, (first, second)
    for first, second in pairwise(COLORS):
        assert abs(lightness(first) - lightness(second)) >= 10, (first, second)
    assert len({fill.hatch for fill in FILLS}) == len(FILLS)
    assert len({node_fill(order) for order in range(20)}) == 20, "each count of nodes has a fill of its own"


def test_lightness_is_that_of_cie():
    assert lightness("white") == pytest.approx(100)
    assert lightness("black") == pytest.approx(0)
    assert lightness("#777777") == pytest.approx(50, abs=0.5)


def test_every_curve_of_a_panel_has_a_marker_and_a_dash_of_its_own():
    assert len(set(MARKERS)) == len(set(map(str, DASHES))) == len(set(COLORS)) == MOST_STYLES
    steps = curve_styles(["1", "2", "4", "8"], ordinal=True)
    values = [lightness(style.color) for style in steps.values()]
    assert values == sorted(values)
    marks = [(style.color, style.marker) for style in curve_styles([str(n) for n in range(20)]).values()]
    assert len(set(marks)) == 20, "the nine engines of grid=frameworks too"


def test_oversubscribed_points_are_hollow_and_off_the_line(sheets, tmp_path):
    series = series_of([run(1, (10.0,)), run(2, (6.0,)), run(4, (9.0,), oversubscribed=True)], Scaling.STRONG)
    figure = times.draw_time(Scaling.STRONG, series, tmp_path)
    lines = sheets["strong_time"].axes[0].get_lines()
    filled = next(line for line in lines if list(line.get_xdata()) == [1, 2] and line.get_marker() == "o")
    hollow = next(line for line in lines if list(line.get_xdata()) == [4] and line.get_marker() == "o")
    assert filled.get_markerfacecolor() == filled.get_color()
    assert hollow.get_markerfacecolor() == "white"
    assert hollow.get_linestyle() == "None"
    assert "Hollow: more ranks than cores" in figure.caption
    assert any("oversubscribed" in text for text in legend_of(sheets["strong_time"]))


def test_runs_apart_are_crosses_and_failures_stand_on_the_axis(sheets, tmp_path):
    runs = [
        run(1, (10.0,)),
        run(2, (6.0,)),
        run(2, (11.0,), seed=1, devices=("Tesla P4",) * 2),
        without_time(4, "out_of_memory", cause="out_of_memory"),
    ]
    figure = times.draw_time(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    lines = sheets["strong_time"].axes[0].get_lines()
    cross = next(line for line in lines if line.get_marker() == "x")
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([2], [11.0])
    fallen = next(line for line in lines if line.get_marker() == "X")
    assert list(fallen.get_xdata()) == [4]
    assert 0 <= fallen.get_ydata()[0] < 0.1  # of the axes' height
    labels = legend_of(sheets["strong_time"])
    assert "run kept apart" in labels
    assert "no time: 1 out_of_memory" in labels
    assert "unlike GPUs: it ran on Tesla P4" in figure.caption


def test_a_run_apart_at_a_count_of_its_own_lies_inside_the_axes(sheets, tmp_path):
    runs = [run(1, (10.0,)), run(2, (6.0,)), run(8, (40.0,), devices=("Tesla P4",) * 8)]
    times.draw_time(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    axes = sheets["strong_time"].axes[0]
    assert axes.get_xlim()[1] > 8
    assert axes.get_ylim()[1] > 40.0


def test_a_series_of_one_count_is_no_curve_of_speedup_1(sheets, tmp_path):
    alone = [run(1, (10.0,), micro_batch=32, run_id="alone")]
    runs = [run(1, (10.0,)), run(2, (6.0,)), *alone]
    figure = speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    measured = [
        line for line in sheets["strong_speedup"].axes[0].get_lines() if line.get_marker() not in ("None", None)
    ]
    assert [list(line.get_xdata()) for line in measured] == [[1, 2]]
    assert "Not drawn: 1 series of one GPU count" in figure.caption


def test_what_nobody_measured_is_drawn_as_unknown_not_as_communication(sheets, tmp_path):
    """100 steps of 20 ms in collectives are 2 of the 5 s of an epoch; of the other 3 s nothing is known."""
    runs = [run(1, (10.0,)), run(4, (5.0,), parts=StepParts(communication=20.0))]
    assert parts_of(runs[1:])["communication"] == pytest.approx(2.0)
    assert parts_of(runs[1:])[UNKNOWN.name] == pytest.approx(3.0)
    figure = parts.draw_parts(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    assert "communication 40%, not measured 60%" in figure.alt
    assert UNKNOWN.name in legend_of(sheets["strong_parts"])


def test_a_count_that_only_waits_is_no_failure(sheets, tmp_path):
    runs = [run(1, (10.0,)), run(2, (6.0,)), without_time(4, "queued")]
    figure = times.draw_time(Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    assert not [line for line in sheets["strong_time"].axes[0].get_lines() if line.get_marker() == "X"]
    assert "1 point was not run or not finished" in figure.caption


def test_a_speedup_below_one_and_its_interval_lie_inside_the_axes(sheets, tmp_path):
    series = [with_intervals(series_from({1: [[10.0], [9.0]], 2: [[20.0], [26.0]]}))]
    speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, series, tmp_path)
    bottom, _ = sheets["strong_speedup"].axes[0].get_ylim()
    assert bottom < series[0].points[1].speedup.low < 0.5


def test_a_figure_that_can_no_longer_be_drawn_leaves_no_old_file(unprinted, tmp_path):
    draw([run(1), run(2, (5.0,))], tmp_path)
    assert list(tmp_path.glob("strong_speedup.*"))
    draw([run(1)], tmp_path)
    assert not list(tmp_path.glob("strong_speedup.*"))


def test_without_a_baseline_there_is_no_curve_but_its_reason_inside_the_axes(sheets, tmp_path):
    runs = [
        run(1, (10.0,)),
        run(2, (6.0,)),
        without_time(1, micro_batch=32, run_id="lost"),
        run(2, (5.0,), micro_batch=32, run_id="kept"),
    ]
    figure = speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, series_of(runs, Scaling.STRONG), tmp_path)
    inside = " ".join(text.get_text().replace("\n", " ") for text in sheets["strong_speedup"].axes[0].texts)
    assert "no baseline: gpus=1 (lost) is failed" in inside
    drawn_x = [list(line.get_xdata()) for line in sheets["strong_speedup"].axes[0].get_lines()]
    assert [1, 2] in drawn_x
    assert [2] not in drawn_x
    assert "batch 32: none, no baseline" in figure.alt


def test_engines_are_drawn_by_memory_and_speed_and_the_front_is_of_certified_ones(unprinted, tmp_path):
    """FSDP2 is smallest but has no certificate; zero1 is beaten in both by ddp."""
    exact = Certificate(steps=50, difference=0.0, absolute=0.0, parameter="a", tolerance=CERTIFIED_WITHIN)
    measured = {"ddp": (10.0, 6000.0, exact), "zero1": (11.0, 6500.0, exact), "zero2": (12.0, 5000.0, exact)}
    runs = [
        run(2, (seconds,), run_id=name, conditions={"engine": name}, memory_mib=memory, certificate=certificate)
        for name, (seconds, memory, certificate) in (measured | {"fsdp2": (20.0, 3000.0, None)}).items()
    ]
    drawn = draw(runs, tmp_path)["engines"]
    assert "Hollow: no certificate says" in drawn.caption
    assert "Fastest is ddp with 640 images/s" in drawn.alt and "smallest fsdp2 with 320 images/s" in drawn.alt
    points = [
        engines.Engine(6400 / seconds, memory / 1024, name, certificate is not None)
        for name, (seconds, memory, certificate) in (measured | {"fsdp2": (20.0, 3000.0, None)}).items()
    ]
    assert [engine.name for engine in engines.pareto(points)] == ["ddp", "zero2"]


def test_a_cross_stands_where_the_plan_expects_an_engine_from_what_was_measured_of_its_reference(sheets, tmp_path):
    """Planted: twice the step and half the memory of DDP; then, with offload, four times the step of the same stage."""
    exact = Certificate(steps=50, difference=0.0, absolute=0.0, parameter="a", tolerance=CERTIFIED_WITHIN)
    planted = {
        ("ddp", "none"): (10.0, 7.0, 100.0, 8.0),
        ("zero2", "none"): (16.0, 4.0, 200.0, 4.0),
        ("zero2", "cpu"): (80.0, 1.0, 800.0, 1.0),
    }
    runs = [
        run(
            2,
            (seconds,),
            run_id=f"{name}-{offload}",
            conditions={"engine": name, "engine.offload_optimizer": offload},
            memory_mib=1024 * (gib - CONTEXT_GIB),
            step_predicted_ms=step,
            memory_predicted_mib=1024 * planned_gib,
            certificate=exact,
        )
        for (name, offload), (seconds, gib, step, planned_gib) in planted.items()
    ]
    drawn = draw(runs, tmp_path)["engines"]
    assert "Cross: where the plan expects" in drawn.caption
    lines = [line for line in sheets["engines"].axes[0].get_lines() if line.get_marker() == "x"]
    assert [[tuple(map(float, point)) for point in line.get_xydata()] for line in lines] == [
        [(400, 4), (pytest.approx(320), pytest.approx(3.5))],
        [(80, 1), (pytest.approx(100), pytest.approx(1.0))],
    ]
    assert "to what the plan expects" in legend_of(sheets["engines"])
    unknown = [replace(each, step_predicted_ms=None) for each in runs]
    assert "Cross" not in draw(unknown, tmp_path)["engines"].caption


def test_engines_stand_in_their_order_whatever_their_cells_are_called(sheets, tmp_path):
    """A run's id ends with a digest, which would shuffle legends and rows."""
    names = ["ddp", "zero1", "zero2", "zero3"]
    runs = [
        run(2, (9.0,), run_id=digest, conditions={"engine": name}, memory_mib=5000.0, compute_ms_by_rank=(1.0, 2.0))
        for name, digest in zip(names, ("d1", "a7", "f0", "b3"), strict=True)
    ]
    draw(runs, tmp_path)
    for figure in ("engines", "memory"):
        assert [text for text in legend_of(sheets[figure]) if text in names] == names
    rows = [tick.get_text() for tick in sheets["ranks"].axes[0].get_yticklabels()]
    assert [row.partition(",")[0] for row in rows] == names


@given(
    low=st.floats(min_value=1e-4, max_value=1e6),
    span=st.floats(min_value=3.01, max_value=1e5),
)
def test_a_logarithmic_axis_has_three_plain_numbers_or_more(low, span):
    with theme():
        axes = Sheet().add_subplot()
        value_axis(axes, [low, low * span], log=True)
        bottom, top = axes.get_ylim()
        inside = [tick for tick in axes.yaxis.get_majorticklocs() if bottom <= tick <= top]
    assert 3 <= len(inside) <= 9
    texts = [axes.yaxis.get_major_formatter()(tick) for tick in inside]
    assert len(set(texts)) == len(texts) and all(float(text.replace(",", "")) for text in texts)


def test_larger_images_are_drawn_by_speed_memory_and_the_largest_that_was_trained(sheets, tmp_path):
    drawn = draw(SIZED, tmp_path)["resolutions"]
    assert "gpus=1, sequence=1: up to 512 px at 160 images/s; gpus=2, sequence=2: up to 1,024 px at 80.0" in drawn.alt
    speed, memory, largest = sheets["resolutions"].axes
    assert [list(line.get_xdata()) for line in speed.get_lines()] == [[224, 512], [512, 1024]]
    assert [[round(y * 1024) for y in line.get_ydata()] for line in memory.get_lines()] == [
        [9000],
        [9500, 20_000],
        [9900],
        [],
    ]
    assert [list(line.get_ydata()) for line in largest.get_lines()] == [[512], [1024]]
    assert_tidy(sheets["resolutions"])


@pytest.mark.parametrize(
    ("runs", "name", "reason"),
    [
        ([sized(224), sized(512, gpus=2)], "resolutions", "no two image sizes were run on equal GPUs"),
        ([], "weak_time", "no run was for weak scaling"),
        ([without_time(1)], "strong_time", "no run of strong scaling has a time"),
        ([run(1)], "strong_speedup", "one GPU count only"),
        ([run(1), run(2, oversubscribed=True)], "strong_efficiency", "gpus=2 ran with more ranks than cores"),
        ([without_time(1), run(2)], "strong_speedup", "no baseline: gpus=1 (g1-s0) is failed"),
        ([run(1), run(2)], "nodes_time", "no timed run was on more than one node"),
        ([run(1), run(2)], "placement", "both packed and spread"),
        ([run(1), run(2)], "strong_parts", "measured in parts"),
        ([run(1), run(2)], "batch_time", "no two batch sizes"),
        ([run(1), run(2)], "memory", "no run has measured the memory"),
        ([run(1), run(2)], "ranks", "times of single ranks"),
        ([run(1), run(2)], "accuracy_epoch", "has an accuracy"),
        ([run(1, test_accuracy=(0.1, 0.2))], "accuracy_batch", "one batch only, 16 images per step"),
        ([run(1, scaling=Scaling.WEAK), run(2, scaling=Scaling.WEAK)], "cost_time", "weak runs differ in their work"),
    ],
)
def test_a_figure_without_data_is_not_made_and_says_why(runs, name, reason, unprinted, tmp_path):
    skipped = draw(runs, tmp_path)[name]
    assert isinstance(skipped, figures.Skipped)
    assert reason in skipped.reason
    assert not skipped.paths
    assert not list(tmp_path.glob(f"{name}*"))


def test_twenty_curves_are_small_multiples_with_a_legend_of_at_most_eight(sheets, tmp_path):
    many = study(
        gpus=(1, 2, 4),
        batches=(8, 16, 32, 64, 128),
        engines=("zero0", "zero1"),
        repeats=1,
        modes=(Scaling.STRONG,),
        troubles=False,
    )
    series = series_of(many, Scaling.STRONG)
    assert len(series) == 20
    times.draw_time(Scaling.STRONG, series, tmp_path)
    sheet = sheets["strong_time"]
    assert 1 < len(sheet.axes) <= 6
    counts = [
        sum(len(line.get_xdata()) == 3 and line.get_marker() in MARKERS for line in axes.get_lines())
        for axes in sheet.axes
    ]
    assert sum(counts) == 20
    assert max(counts) <= MOST_STYLES
    assert len([text for text in legend_of(sheet) if "alone" not in text]) <= MOST_STYLES
    assert all(axes.get_title() for axes in sheet.axes)
    assert_tidy(sheet)


def test_series_that_did_other_work_are_never_in_one_panel():
    items = [{"data": data, "batch": batch} for data in ("cifar10", "cifar100") for batch in ("16", "64")]
    arrangement = arrange(items, apart=("data",))
    assert [(panel.title, [label for _, label in panel.curves]) for panel in arrangement.panels] == [
        ("cifar10", ["batch 16", "batch 64"]),
        ("cifar100", ["batch 16", "batch 64"]),
    ]


def test_panels_and_labels_are_in_the_order_of_their_numbers():
    arrangement = arrange([{"batch": str(b), "engine": e} for b in (128, 8, 16) for e in ("zero1", "zero0")], most=2)
    assert [panel.title for panel in arrangement.panels] == ["batch 8", "batch 16", "batch 128"]
    assert arrangement.labels == ("zero0", "zero1")


def test_an_axis_that_another_already_tells_is_not_named():
    items = [{"batch": b, "warmup_steps": w} for b, w in (("16", "3"), ("32", "5"))]
    assert arrange(items).labels == ("batch 16", "batch 32")


def test_more_panels_than_a_page_holds_are_counted():
    arrangement = arrange([{"batch": str(2**b)} for b in range(15)], most=1)
    assert len(arrangement.panels) == 12
    assert arrangement.left_out.startswith("3 further panels not drawn")


def test_of_a_hundred_configurations_each_panel_is_readable_and_the_rest_is_counted_on_the_sheet(sheets, tmp_path):
    """A title breaks between words, and what sums of fractions leave in their last bits is not in it."""
    rates = [1e-4 * (1 + n) for n in range(14)]
    each = study(gpus=(1, 2, 4, 8), repeats=1, epochs=2, modes=(Scaling.STRONG,), troubles=False)
    runs = [
        replace(
            one, run_id=f"{one.run_id}-{rate}", conditions=(*one.conditions, ("optimizer.learning_rate", repr(rate)))
        )
        for rate in rates
        for one in each
    ]
    strong = series_of(runs, Scaling.STRONG)
    times.draw_time(Scaling.STRONG, strong, tmp_path)
    speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, strong, tmp_path)
    parts.draw_parts(Scaling.STRONG, strong, tmp_path)
    parts.draw_batches(strong, tmp_path)
    cost.draw_cost(strong, tmp_path)
    steps.draw_steps(strong, tmp_path)
    ranks.draw_ranks(runs, tmp_path)
    for name, sheet in sheets.items():
        assert_tidy(sheet, name)
        titles = [axes.get_title() for axes in sheet.axes if axes.get_title()]
        assert name == "ranks" or (titles and all("learning" in title and "rate" in title for title in titles)), name
        assert not any("0000000" in text for text in (*titles, *map(Text.get_text, sheet.findobj(Text)))), name
        (legend,) = sheet.legends or [None]
        assert name == "ranks" or re.fullmatch(r"\d+ further panels not drawn .+", legend.get_title().get_text()), name


def _sheets():
    """Those of others too, that have not been collected."""
    return {id(one) for one in gc.get_objects() if type(one) is axes_of_a_sheet.Sheet}


def test_of_figures_that_are_written_nothing_stays_in_memory_and_each_has_its_pixels_once(
    runs, only, tmp_path, monkeypatch
):
    """15 MiB each: a study of a thousand runs took twice the memory for pixels that only told how large a text is."""
    made = Counter()

    class Pixels(backend_agg.RendererAgg):
        def __init__(self, *given):
            made["pixels"] += 1
            super().__init__(*given)

    monkeypatch.setattr(backend_agg, "RendererAgg", Pixels)
    monkeypatch.setenv(SWITCH, "on")
    only("draw_cost", "draw_ranks")
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 0)
    gc.unfreeze()  # what the tests froze
    gc.disable()
    others = _sheets()
    try:
        names = draw(runs, tmp_path)
        assert {"cost_time", "ranks"} <= set(names) and made["pixels"] == 2
        assert _sheets() <= others
        assert any(each is runs for each in gc.get_objects()), "no longer frozen"
    finally:
        gc.enable()
        gc.freeze()


@pytest.mark.parametrize("gpus", [(1, 2, 3, 4, 5, 6, 7, 8, 16, 32), (1, 2)])
def test_nothing_is_cut_and_nothing_overlaps(gpus, sheets, tmp_path):
    """Also with all the marks that a troubled study has."""
    runs = study(gpus=gpus, repeats=2, epochs=3)
    strong, weak = (series_of(runs, mode) for mode in Scaling)
    times.draw_time(Scaling.STRONG, strong, tmp_path)
    times.draw_time(Scaling.WEAK, weak, tmp_path)
    speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, strong, tmp_path)
    speedup.draw_against_ideal(Quantity.EFFICIENCY, Scaling.STRONG, strong, tmp_path)
    parts.draw_parts(Scaling.STRONG, strong, tmp_path)
    parts.draw_batches(strong, tmp_path)
    placement.draw_placement(strong, tmp_path, Spreads(cells_of(strong)).ratio)
    nodes.draw_nodes(strong, tmp_path)
    cost.draw_cost(strong, tmp_path)
    memory.draw_memory(runs, tmp_path)
    assert len(sheets) == 10
    for name, sheet in sheets.items():
        assert_tidy(sheet, name)
        for axes in sheet.axes:
            if axes.get_xscale() == "log" and name.endswith(("_time", "speedup", "efficiency")) and name != "cost_time":
                assert set(gpus) <= {round(tick) for tick in axes.get_xticks()}, name


@pytest.mark.parametrize(("counts", "written"), [(4, True), (16, False)])
def test_per_cents_above_bars_do_not_cover_each_other_and_are_left_out_where_they_would(
    counts, written, sheets, tmp_path
):
    runs = [
        run(g, (100 / g * (1 + 0.001 * n),), nodes=n, placement=f"nodes={n}", run_id=f"{g}-{n}")
        for g in range(8, 8 * counts + 8, 8)
        for n in (1, 2, 4, 8)
    ]
    nodes.draw_nodes(series_of(runs, Scaling.STRONG), tmp_path)
    sheets["nodes_time"].draw_without_rendering()
    (axes,) = sheets["nodes_time"].axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert bool(boxes) is written
    assert not any(box.overlaps(other) for box, other in combinations(boxes, 2))


def test_the_check_for_overlaps_can_fail(sheets, tmp_path):
    times.draw_time(Scaling.STRONG, [series_from({1: (10.0,), 2: (6.0,)})], tmp_path)
    sheet = sheets["strong_time"]
    sheet.axes[0].set_xlabel("GPUs " * 40)
    with pytest.raises(AssertionError):
        assert_tidy(sheet)


def test_long_labels_are_wrapped_inside_the_figure(sheets, tmp_path):
    long = "a data set with a name that somebody thought about for a long time, and an engine, "
    short = series_of(study(gpus=(1, 2), repeats=1), Scaling.STRONG)
    series = [replace(curve, label=long + curve.label) for curve in short]
    times.draw_time(Scaling.STRONG, series, tmp_path)
    assert all("\n" in text for text in legend_of(sheets["strong_time"]) if text.startswith("a data"))
    assert_tidy(sheets["strong_time"])


def test_published_curves_are_grey_and_dashed_with_their_source(sheets, tmp_path):
    own = series_from({1: (10.0,), 2: (6.0,)})
    published = replace(series_from({1: (20.0,), 2: (11.0,), 3: (8.0,)}), label="arXiv:2602.21081, packed")
    figure = speedup.draw_against_ideal(Quantity.SPEEDUP, Scaling.STRONG, [own], tmp_path, reference=[published])
    sheet = sheets["strong_speedup"]
    line = next(drawn_line for drawn_line in sheet.axes[0].get_lines() if list(drawn_line.get_xdata()) == [1, 2, 3])
    assert line.get_color() == "0.5"
    assert line.is_dashed()
    assert "published: arXiv:2602.21081, packed" in legend_of(sheet)
    assert "arXiv:2602.21081" in figure.caption


def test_fitted_lines_are_named_and_end_where_the_measurements_do(sheets, tmp_path):
    fit = figures.Overlay(
        kind=figures.Kind.FITTED,
        label="Amdahl",
        scaling=Scaling.STRONG,
        quantity=figures.Quantity.TIME,
        gpus=(1.0, 2.0, 4.0, 8.0),
        values=(10.0, 6.0, 4.0, 3.0),
    )
    times.draw_time(Scaling.STRONG, [series_from({1: (10.0,), 4: (4.1,)})], tmp_path, overlays=[fit])
    sheet = sheets["strong_time"]
    assert [1.0, 2.0, 4.0] in [list(line.get_xdata()) for line in sheet.axes[0].get_lines()]
    assert "fitted: Amdahl" in legend_of(sheet)


def test_simulated_lines_have_a_figure_of_their_own_that_says_so(unprinted, tmp_path):
    line = figures.Overlay(
        kind=figures.Kind.SIMULATED,
        label="T4",
        scaling=Scaling.STRONG,
        quantity=figures.Quantity.EFFICIENCY,
        gpus=(1.0, 32.0, 1024.0),
        values=(1.0, 0.9, 0.4),
    )
    drawn = figures.draw_all([series_from({1: (10.0,), 2: (6.0,)})], [], [], tmp_path, predictions=[line])
    made = {figure.name: figure for figure in drawn if isinstance(figure, figures.Figure)}
    assert made["simulated"].caption.startswith("SIMULATED, not measured")
    assert "0.400 on 1,024 GPUs" in made["simulated"].alt
    assert "1,024" not in made["strong_efficiency"].alt
    with pytest.raises(ValueError, match="no simulated lines"):
        draw_simulated([], tmp_path)


def test_training_accuracy_is_never_called_test_accuracy(unprinted, tmp_path):
    runs = [run(g, (10.0 / g,), train_accuracy=(0.2, 0.3), test_accuracy=(None, None)) for g in (1, 2)]
    made = draw(runs, tmp_path)
    assert "training accuracy" in made["accuracy_epoch"].alt
    assert made["accuracy_batch"].caption.startswith("Accuracy on training images")


def test_an_error_is_drawn_under_its_name_in_its_units_and_never_as_an_accuracy(unprinted, tmp_path):
    runs = [
        run(g, (10.0 / g,), test_metrics=(("mae", (7.5, 250.0 / g)), ("r2", (0.1, 0.2))), micro_batch=16)
        for g in (1, 2)
    ]
    made = draw(runs, tmp_path)
    for name in ("mae_epoch", "mae_batch"):
        figure = made[name]
        assert "mean absolute error" in figure.alt and figure.title.startswith("Mean absolute error")
        assert "accuracy" not in f"{figure.alt} {figure.title} {figure.caption}".lower() and "%" not in figure.alt
    assert "250 at epoch 2" in made["mae_epoch"].alt
    assert "r2_epoch" not in made
    assert made["accuracy_epoch"].reason == "no finished run has an accuracy"


def test_the_pareto_front_holds_what_nobody_beats_in_both():
    offers = [
        cost.Offer(10.0, 5.0, 4, "a"),
        cost.Offer(20.0, 4.0, 2, "a"),
        cost.Offer(21.0, 4.0, 2, "b"),
        cost.Offer(15.0, 6.0, 3, "b"),
        cost.Offer(40.0, 3.0, 1, "a"),
    ]
    assert [(offer.time_s, offer.gpu_hours) for offer in cost.pareto(offers)] == [(10.0, 5.0), (20.0, 4.0), (40.0, 3.0)]


def test_one_gpu_has_no_placement_and_makes_no_pair(sheets, tmp_path):
    runs = study(gpus=(1, 2, 4), batches=(16,), repeats=1, modes=(Scaling.STRONG,), troubles=False)
    strong = series_of(runs, Scaling.STRONG)
    figure = placement.draw_placement(strong, tmp_path, Spreads(cells_of(strong)).ratio)
    assert re.findall(r"on (\d+) GPU", figure.alt) == ["2", "4"]


def test_placement_and_isoefficiency_have_the_intervals_of_their_tables(only, tmp_path, monkeypatch):
    """Both from the spread of all cells: weak runs that lie far apart make those of strong ones wider."""
    drawn = []
    for room in (placement, isoefficiency):
        monkeypatch.setattr(room, "draw_estimates", lambda axes, x, estimates, **look: drawn.extend(estimates))
    only("draw_placement", "draw_isoefficiency")
    runs = study(gpus=(1, 2, 4), batches=(4, 16, 64), repeats=2, epochs=2, troubles=False)
    series = with_all_intervals(curve for mode in Scaling for curve in group(runs, mode))
    strong, weak = ([curve for curve in series if curve.key.scaling is mode] for mode in Scaling)
    figures.draw_all(strong, weak, runs, tmp_path)
    rows = {table.name: table.rows for table in tables_of(runs, series, {})}
    shown = {tuple(row[f"time_ratio{end}"] for end in ("_low", "", "_high")) for row in rows["placement"]}
    shown |= {tuple(row[f"batch_needed{end}"] for end in ("_low", "", "_high")) for row in rows["isoefficiency"]}
    assert {(estimate.low, estimate.value, estimate.high) for estimate in drawn} <= shown
    assert sum(estimate.known for estimate in drawn) > len(rows["placement"])


def test_isoefficiency_names_only_what_it_shows(sheets, tmp_path):
    """On one GPU 80 % lies between batches of 43 % and 100 %; two GPUs never reach it: no curve and no line."""
    seconds = {(1, 16): 15.0, (1, 32): 6.4, (2, 16): 8.6, (2, 32): 8.4}
    runs = [run(gpus, (s,), micro_batch=batch, run_id=f"{gpus}-{batch}") for (gpus, batch), s in seconds.items()]
    made = isoefficiency.draw_isoefficiency(series_of(runs, Scaling.STRONG), tmp_path, Spreads([]).ratio)
    words = legend_of(sheets["isoefficiency"])
    assert words == ["efficiency 80%", "efficiency 90%", "measured: below 80%", "measured: 90% or more"]
    assert "dotted" not in made.caption


def test_drawing_leaves_the_readers_settings_alone():
    before = dict(mpl.rcParams)
    with theme():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before


def test_a_readers_own_settings_do_not_change_a_figure(only, tmp_path, monkeypatch):
    only("draw_time")
    monkeypatch.setenv(SWITCH, "svg")
    runs = [run(1), run(2, (6.0,))]
    plain = draw(runs, tmp_path / "plain")["strong_time"].paths[".svg"].read_bytes()
    with mpl.rc_context({"lines.linewidth": 9.0, "font.size": 20.0, "axes.facecolor": "black"}):
        own = draw(runs, tmp_path / "own")["strong_time"].paths[".svg"].read_bytes()
    assert own == plain


def test_intervals_of_several_kinds_are_one_sentence():
    known, single = (curves.Estimate(value=1.0, low=0.9, high=1.1, n=3), curves.Estimate(value=1.0))
    assert curves.intervals_text([known, single, None]) == (
        "Bars: 95% intervals over 3 runs a point; 1 point with n=1 and no bar."
    )
    assert curves.intervals_text([None]) == ""


def legend_of(sheet):
    return [text.get_text() for text in sheet.legends[0].get_texts()]


def assert_tidy(sheet, name=""):
    """Nothing lies outside the sheet; a legend covers no axes, a tick label not its neighbour, a panel no other, and
    words in a panel not the name of its axis."""
    sheet.draw_without_rendering()
    width, height = sheet.bbox.width, sheet.bbox.height
    boxes = [axes.get_tightbbox() for axes in sheet.axes]
    legends = [legend.get_window_extent() for legend in sheet.legends]
    for box in (*boxes, *legends):
        assert box.x0 >= -1, name
        assert box.y0 >= -1, name
        assert box.x1 <= width + 1, name
        assert box.y1 <= height + 1, name
    for legend in legends:
        assert not any(legend.y1 > box.y0 + 1 for box in boxes), name
    for box, other in combinations(boxes, 2):
        wide = min(box.x1, other.x1) - max(box.x0, other.x0)
        high = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert wide <= 1 or high <= 1, (name, box, other)
    for axes in sheet.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            shown = [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]
            inside = [box for box in shown if box.width and axes.bbox.padded(4).overlaps(box.padded(6))]
            for box, other in pairwise(inside):
                assert not box.overlaps(other), name
        named = axes.yaxis.label.get_window_extent()
        assert not any(named.width and text.get_window_extent().overlaps(named) for text in axes.texts), name


# --- optimizers --------------------------------------------------------------------------------------------


def accuracy_rows(epochs_by_optimizer, *, gpus=2):
    """Rows of the table of seeds that reach the target after so many epochs of 10 s; None: never, in 50 s."""
    runs, reached = [], {}
    for optimizer, ends in epochs_by_optimizer.items():
        for seed, epochs in enumerate(ends):
            named = {"run_id": f"{optimizer}{seed}{gpus}", "seed": seed, "conditions": {"optimizer": optimizer}}
            runs.append(run(gpus, (10.0,), test_accuracy=(0.4,), **named))
            end = Reached(seconds=None, epoch=None, reason="never", trained_s=50.0)
            if epochs is not None:
                end = Reached(seconds=10.0 * epochs, epoch=epochs, below_s=10.0 * (epochs - 1))
            reached[runs[-1].run_id] = (0.5, end)
    return accuracy_table(runs, reached).rows


def test_optimizers_are_drawn_by_their_time_to_accuracy_and_one_that_never_gets_there_as_longer(sheets, tmp_path):
    seeds = {"sgd": (4, 5, 5), "adamw": (2, 3, 3), "lamb": (3, None, None)}
    made = optimizers.draw_optimizers(accuracy_rows(seeds), [], tmp_path)
    (axes,) = sheets["optimizers"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["adamw", "sgd", "lamb"]
    (adamw, sgd), (lamb,) = (axes.containers, [line for line in axes.lines if line.get_marker() == ">"])
    assert [bar.lines[0].get_xdata()[0] for bar in (adamw, sgd)] == [30.0, 50.0]
    assert list(lamb.get_xdata()) == [50.0]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the soonest is on top"
    assert "Bars: 95% intervals over 3 runs a point." in made.caption
    assert "An arrow stands where" in made.caption
    assert "adamw 30.0 s, sgd 50.0 s, lamb more than 50.0 s, 1 of 3 got there." in made.alt


def test_optimizers_of_other_work_stand_in_other_panels_and_one_alone_is_no_figure(sheets, tmp_path):
    seeds = {"sgd": (4, 5), "adamw": (2, 3)}
    optimizers.draw_optimizers([*accuracy_rows(seeds), *accuracy_rows(seeds, gpus=4)], [], tmp_path)
    assert [axes.get_title() for axes in sheets["optimizers"].axes] == ["2 GPUs", "4 GPUs"]
    alone = optimizers.draw_optimizers(accuracy_rows({"sgd": (4, 5)}), [], tmp_path)
    assert "no work was done by several optimizers" in alone.reason
