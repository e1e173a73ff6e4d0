"""The verb `simulate`: a scaling curve from a profile and a model's arithmetic alone, marked as SIMULATED. An edge."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console

from launchers.errors import UserError
from vit_sweep.analysis.laws.simulate import IMBALANCE, MARK, MOST_GPUS
from vit_sweep.analysis.laws.simulated import Simulation
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.api.simulating import Simulated, read_words, simulated
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role, columns_of


def simulate(
    words: Annotated[
        list[str] | None, typer.Argument(help="The words of a sweep: partition=, model=, data=, batch=, scaling=, ...")
    ] = None,
    *,
    max_gpus: Annotated[int, typer.Option(min=1, help="Doublings up to here, where no gpus=... is given.")] = MOST_GPUS,
    imbalance: Annotated[float, typer.Option(min=0, help="Spread of the ranks' computation, as a part.")] = IMBALANCE,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Part of what can hide behind computation and does; else as the engine does."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="A study whose finished runs say how fast an image is.")] = None,
    figure: Annotated[bool, typer.Option("--figure/--no-figure", help="Draw it, where the extra is there.")] = True,
    output: Annotated[Path, typer.Option(help="Folder of the figure.")] = Path("outputs/simulated"),
) -> None:
    """Draw a scaling curve that nobody measured, from a profile's link speeds. Never evidence."""
    console = show.console()
    simulation = simulated(
        *read_words(words or [], console.print), study=study, most=max_gpus, imbalance=imbalance, overlap=overlap
    )
    draw(console, simulation.curve)
    if figure and len(simulation.curve.points) > 1:
        _figure(console, simulation, output)
    raise typer.Exit(0 if simulation.curve.points else 1)


def draw(console: Console, curve: Simulation) -> None:
    """Print a simulated curve, its inputs and its notes; every block says what it is."""
    rows = []
    for point in curve.points:
        times = (point.compute_ms, point.communication_ms, point.imbalance_ms, point.step_ms)
        rows.append(
            (
                f"{'*' if point.beyond else ''}{point.gpus}",
                *(str(number) for number in (point.nodes, point.global_batch, point.steps)),
                *(f"{value:.1f}" for value in times),
                f"{point.epoch_s:.3g}" if point.epoch_s < 100 else f"{point.epoch_s:.1f}",
                f"{point.images_per_s:.0f}",
                f"{point.speedup.value:.3g}",
                f"{point.efficiency.value:.1%}",
                _band(point.efficiency),
                f"{point.gpu_hours:.3g}",
            )
        )
    table = Fitted(
        columns_of(_POINTS, rows),
        title=f"{MARK}, not measured: {curve.scaling.value} scaling of {curve.label}",
        notes=(f"{MARK} by a model of links and overlap (docs/results/models.md); band: from nothing hidden to all",),
        frame=box.SIMPLE_HEAD,
    )
    console.print(table)
    for reason in curve.impossible:
        console.print(f"cannot be: {reason}", soft_wrap=not console.is_terminal)
    for note in curve.notes:
        console.print(note, soft_wrap=not console.is_terminal)
    inputs = [(a.name, a.value, a.source, "a guess" if a.guess else "known") for a in curve.inputs]
    table = Fitted(columns_of(_INPUTS, inputs), title=f"what this is {MARK} from", frame=box.SIMPLE_HEAD, stacks=True)
    console.print(table)


_POINTS = (
    Column("GPUs", role=Role.KEY),
    Column("nodes", rank=8),
    Column("global batch", rank=6),
    Column("steps/epoch", rank=7),
    Column("compute ms", rank=3),
    Column("comm. ms", rank=3),
    Column("imbalance ms", rank=5),
    Column("step ms", rank=2),
    Column("epoch s", role=Role.KEY),
    Column("images/s", rank=4),
    Column("speedup"),
    Column("eff.", role=Role.KEY),
    Column("eff., band", rank=1),
    Column("GPU-h/epoch", rank=2),
)
_INPUTS = (
    Column("input", role=Role.KEY, is_text=True),
    Column("value", is_text=True),
    Column("from", role=Role.REMARK),
    Column("basis", is_text=True),
)


def _band(efficiency: Estimate) -> str:
    """`88 to 100%`; one number where both ends are equal to whole per cent."""
    low, high = (f"{100 * (efficiency.value if end is None else end):.0f}" for end in (efficiency.low, efficiency.high))
    return f"{high}%" if low == high else f"{low} to {high}%"


def _figure(console: Console, simulation: Simulated, folder: Path) -> None:
    from vit_sweep.study.code.provenance import require_extra

    try:
        require_extra("report")
    except UserError as error:
        console.print(f"no figure: {error}", soft_wrap=True)
        return
    for path in simulation.drawn(folder).paths.values():
        console.print(f"{MARK}: {path}", soft_wrap=True)
