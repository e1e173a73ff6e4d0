"""The verb `simulate`: a scaling curve from a profile and a model's arithmetic alone, marked as SIMULATED. An edge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from launchers.errors import UserError
from vit_sweep.analysis.laws.simulate import IMBALANCE, MARK, MOST_GPUS
from vit_sweep.analysis.laws.simulated import Simulation
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.api.simulating import Simulated, read_words, simulated
from vit_sweep.cli.terminal import show

if TYPE_CHECKING:
    pass

EPILOG = (
    "Examples: python -m vit_sweep simulate partition=vector_t4v2 model=vit_b_16 data=cifar100 batch=64, or with "
    "gpus=1,8,64 scaling=weak, with half of what can be hidden hidden: --overlap 0.5, or calibrated by finished runs: "
    "--study outputs/vit_b_16-cifar100-vector_t4v2"
)


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
    made = simulated(
        *read_words(words or [], console.print), study=study, most=max_gpus, imbalance=imbalance, overlap=overlap
    )
    draw(console, made.curve)
    if figure and len(made.curve.points) > 1:
        _figure(console, made, output)
    raise typer.Exit(0 if made.curve.points else 1)


def draw(console: Console, made: Simulation) -> None:
    """Print a simulated curve, its inputs and its notes; every block says what it is."""
    table = Table(
        title=f"{MARK}, not measured: {made.scaling.value} scaling of {made.label}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=f"{MARK} by a model of links and overlap (docs/results/models.md); band: from nothing hidden to all",
        caption_justify="left",
    )
    for name in (
        "GPUs",
        "nodes",
        "global batch",
        "steps/epoch",
        "compute ms",
        "comm. ms",
        "imbalance ms",
        "step ms",
        "epoch s",
        "images/s",
        "speedup",
        "eff.",
        "eff., band",
        "GPU-h/epoch",
    ):
        table.add_column(name, justify="right")
    for point in made.points:
        times = (point.compute_ms, point.communication_ms, point.imbalance_ms, point.step_ms)
        cells = [
            f"{'*' if point.beyond else ''}{point.gpus}",
            *(str(number) for number in (point.nodes, point.global_batch, point.steps)),
            *(f"{value:.1f}" for value in times),
            f"{point.epoch_s:.3g}" if point.epoch_s < 100 else f"{point.epoch_s:.1f}",
            f"{point.images_per_s:.0f}",
            f"{point.speedup.value:.3g}",
            f"{point.efficiency.value:.1%}",
            _band(point.efficiency),
            f"{point.gpu_hours:.3g}",
        ]
        table.add_row(*cells)
    console.print(table)
    for reason in made.impossible:
        console.print(f"cannot be: {reason}", soft_wrap=True)
    for note in made.notes:
        console.print(note, soft_wrap=True)
    inputs = Table(title=f"what this is {MARK} from", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("input", "value", "from", "measured for this case?"):
        inputs.add_column(name, overflow="fold")
    for assumption in made.inputs:
        inputs.add_row(assumption.name, assumption.value, assumption.source, "a guess" if assumption.guess else "known")
    console.print(inputs)


def _band(efficiency: Estimate) -> str:
    """`88-100%`; one number where both ends are equal to whole per cent."""
    low, high = (f"{100 * (efficiency.value if end is None else end):.0f}" for end in (efficiency.low, efficiency.high))
    return f"{high}%" if low == high else f"{low}-{high}%"


def _figure(console: Console, made: Simulated, folder: Path) -> None:
    from vit_sweep.study.provenance import require_extra

    try:
        require_extra("report")
    except UserError as error:
        console.print(f"no figure: {error}", soft_wrap=True)
        return
    for path in made.drawn(folder).paths.values():
        console.print(f"{MARK}: {path}", soft_wrap=True)
