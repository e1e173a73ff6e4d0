"""A report's content with something in every part, made of no study: what the page tests open."""

import math
from dataclasses import replace

from tests.unit.analysis.builders import series_from
from vit_sweep.analysis.answers import Answer, Question
from vit_sweep.analysis.audit.finding import Claim, Finding, Severity
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.series.intervals import with_all_intervals
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.report.figure import Figure
from vit_sweep.report.page.content import Command, Failure, Proposal, ReportContent, Section, StudyFile
from vit_sweep.report.page.curves import curve_of
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.page.methods import METHODS
from vit_sweep.report.page.verdict import Card
from vit_sweep.report.tables.form.columns import with_bounds
from vit_sweep.report.tables.form.table import Cells, Column
from vit_sweep.report.tables.parts import estimate

HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)> & {{ 7 * 7 }}"

DRAWING = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" width="640pt" height="320pt">
<style>line, path { stroke: #0072b2; stroke-width: 3; fill: none }</style>
<line x1="60" y1="270" x2="620" y2="270" style="stroke: #222"/>
<line x1="60" y1="30" x2="60" y2="270" style="stroke: #222"/>
<path d="M60 270 L240 200 L420 130 L600 75"/><text x="320" y="305" font-size="18">GPUs</text></svg>
"""


def figure(folder, name="strong-speedup", **changes):
    """One drawing in `folder`."""
    path = folder / f"{name}.svg"
    path.write_text(DRAWING)
    made = Figure(
        name=name,
        title="Speedup, strong scaling",
        caption="Speedup over GPUs; the dashed line is ideal.",
        alt="A line that rises from 1 at 1 GPU to 6.7 at 8 GPUs, below the ideal line.",
        paths={".svg": path},
    )
    return replace(made, **changes)


def scaling_table(**changes):
    """Nine rows: two series of four GPU counts, and a failed cell. Widths and gaps as in a real study."""
    rows: list[Cells] = [
        {
            "cell_id": f"n1-g{gpus}-mb{batch}-ga1-{gpus * batch:08x}",
            "batch": batch,
            "gpus": gpus,
            "status": "done",
            "note": "",
            "efficiency": 1813.4 / time / gpus,
        }
        | estimate("epoch_s", Estimate(value=time, low=0.98 * time, high=1.03 * time))
        | estimate("speedup", Estimate(value=1813.4 / time, low=1775.0 / time, high=1851.0 / time))
        for batch in (16, 64)
        for gpus, time in ((1, 1813.4), (2, 892.3), (4, 465.5), (16, 122.8))
    ]
    failed: Cells = {
        "cell_id": "n4-g32-mb64-ga1-00000800",
        "batch": 64,
        "gpus": 32,
        "efficiency": math.nan,
        "status": "out_of_memory",
        "note": HOSTILE,
    }
    columns = (
        Column(name="cell_id", title="cell"),
        Column(name="batch"),
        Column(name="gpus", title="GPUs"),
        with_bounds("epoch_s", "epoch time", "s", "Median of the epochs that count."),
        with_bounds("speedup", "speedup"),
        Column(name="efficiency", percent=True),
        Column(name="status"),
        Column(name="note"),
        Column(name="model"),
        Column(name="precision"),
    )
    made = table_of(
        "strong",
        "Strong scaling: one row per GPU count of a series",
        columns,
        [
            row | {"model": "vit_b_16", "precision": "fp32"}
            for row in (*rows, failed | {"status": "out_of_memory", "note": HOSTILE})
        ],
        notes=("Epoch 1 is in no time of this table.",),
    )
    return replace(made, **changes)


def wide_table():
    """Thirty columns and forty rows of nearly nothing: what has to scroll in its own box."""
    names = [f"a_rather_long_column_{number}" for number in range(30)]
    rows = [dict(zip(names, (f"run {row}", *(row * c / 7 for c in range(29))), strict=True)) for row in range(40)]
    return table_of("runs", "Every run", [Column(name=name) for name in names], rows)


def proposal(folder):
    """An application with every part filled."""
    resources = table_of(
        "resources",
        "Requested resources",
        (Column(name="campaign"), Column(name="gpus", title="GPUs"), with_bounds("gpu_hours", "GPU-hours", "h")),
        [
            {"campaign": "strong scaling, batch 64", "gpus": 8}
            | estimate("gpu_hours", Estimate(value=5.4, low=5.2, high=5.9))
        ],
    )
    evidence = scaling_table(name="evidence", title="Scalability")
    return Proposal(
        threshold=0.8,
        summary=("We ask for 5.4 GPU-hours.",),
        resources=resources,
        evidence=evidence,
        figure=figure(folder, "evidence"),
        storage=(("one checkpoint", "1.3 GB"),),
        caveats=("Nothing beyond 32 GPUs was measured.",),
    )


def finding(rule, sentence, *, severity=Severity.FALLS, where=""):
    """What a rule of the audit found."""
    return Finding(
        rule=rule, severity=severity, claims=(Claim.SMALL_DIFFERENCES,), where=where, sentence=sentence, advice="repeat"
    )


def curves():
    """Two series of three runs a point, one batch apart: one has a law, the other has two counts and none."""
    times = {n: tuple((wiggle * (3 + 97 / n),) for wiggle in (0.99, 1.0, 1.01)) for n in (1, 2, 4, 8, 16)}
    made = [
        replace(curve, label=f"batch {batch}")
        for batch, counts in ((16, (1, 2, 4, 8, 16)), (64, (1, 2)))
        for curve in with_all_intervals(
            [series_from({n: times[n] for n in counts}, micro_batch=batch, hosts=("node0", HOSTILE))]
        )
    ]
    return [(series, tuple(fit(series))) for series in made]


def full(folder):
    """Something in every part, hostile words in every text that a study can bring."""
    return ReportContent(
        study=f"a study {HOSTILE}",
        subtitle="ViT-B/16 on CIFAR-100, 1 to 32 GPUs",
        generated_by="vit_sweep 0.1.0",
        status="8 of 9 cells are done, 1 failed.",
        answers=(
            (
                "",
                Answer(
                    question=Question.EFFICIENT,
                    gpus=16,
                    sentence="largest GPU count with an efficiency above 80%: 16 GPUs, 92.3% [90.1, 94.0]",
                ),
            ),
            ("batch 64", Answer(question=Question.NEXT, sentence=f"most informative next cell: {HOSTILE}")),
        ),
        cards=(
            Card(question="Which GPU count?", lead="16 GPUs", lines=("The largest count.", HOSTILE)),
            Card(question="What is wrong?", lead=HOSTILE, bad=True, link="audit", link_words="claims and findings"),
        ),
        curves=tuple(curve_of(series, fits) for series, fits in curves()),
        headline=figure(folder, "headline"),
        requested=(("gpus", "1, 2, 4, 16, 32"), ("note", HOSTILE)),
        requested_tables=(scaling_table(name="points", title="Points"),),
        machines=(
            table_of(
                "machines",
                "Machines",
                (Column(name="fingerprint"), Column(name="host")),
                [{"fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "host": HOSTILE}],
            ),
        ),
        machine_remarks=("All GPUs are alike.",),
        tables=(
            scaling_table(),
            wide_table(),
            table_of("placement", "Placement", (), (), empty="No pair."),
        ),
        figures=(figure(folder), figure(folder, "hostile", alt=HOSTILE, caption=HOSTILE, title="Weak scaling")),
        fits=(("batch 64", fit(series_from({n: (1.0 + 99 / n, 1.01 + 99 / n) for n in (1, 2, 4)}))),),
        fit_remarks=("Laws are compared by the points left out.",),
        reference=Section(
            name="reference",
            title="Beside the published curve",
            lead=HOSTILE,
            figures=(figure(folder, "beside"),),
            tables=(scaling_table(name="published", title="Published"),),
            findings=(finding("single runs", "single runs"),),
        ),
        findings=(
            finding("global batch grew", HOSTILE, where="batch 64"),
            finding("single runs", "Epoch 1 is apart.", severity=Severity.WEAKENS),
        ),
        audit_tables=(scaling_table(name="three-speedups", title="Three speedups"),),
        failures=(
            Failure(name="n4-g32-mb64-ga1-00000800", status="out_of_memory", cause="gpu_memory", sentence=HOSTILE),
        ),
        problems=(f"{HOSTILE}: passed over",),
        methods=METHODS,
        methods_lead=("Five warm-up steps are left out.",),
        commands=(
            Command(
                line=f"vit_sweep -m gpus=1,2 {HOSTILE}",
                at="2026-01-01T00:00:00+00:00",
                host="login1",
                commit="9fceb02d0ae598e95dc970b74767f19372d61af8",
                code="c0ffee",
                versions=(("torch", "2.11"),),
            ),
        ),
        reproduce=("git checkout 9fceb02d0ae598e95dc970b74767f19372d61af8", "vit_sweep -m gpus=1,2"),
        digests=(("records", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),),
        files=(StudyFile(path="tables/a b.csv", meaning="the table", sha256="9f86d081884c7d65"),),
        proposal=proposal(folder),
    )


def empty():
    """Nothing but a name."""
    return ReportContent(study="empty", subtitle="", generated_by="vit_sweep 0.1.0", status="0 of 0 cells are done.")
