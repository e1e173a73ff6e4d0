"""Which links a series has measured, and whether a GPU count would cross another one. Pure.

A law fitted inside one node says nothing of the network between nodes, however well it fits: nothing in its data ever
went over it. What was measured on one GPU alone crossed no link at all.
"""

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Placement

_FIXED = "nodes="


@checked
class Layout:
    """Where the runs of a series lay: what it takes to know which links a further GPU count crosses."""

    placement: str = ""
    """packed, spread, nodes=2; empty where it is not known."""
    node_gpus: int | None = None
    """GPUs of a node of the partition; None where nobody said."""
    inside: tuple[int, ...] = ()
    """GPU counts, above one, that ran inside one node."""
    across: tuple[int, ...] = ()
    """GPU counts that ran on several."""
    most: int | None = None
    """The largest count that its partition can run; None where nobody said."""

    def measure(self, gpus: int, how: str = "measure it: gpus={}") -> str:
        """The end of a refusal: the cell to run, or that its partition has none that large."""
        if self.most is None or gpus <= self.most:
            return how.format(gpus)
        return f"gpus={gpus} would tell, but {plural(self.most, 'GPU is|GPUs are')} the most that can run there"

    def crosses(self, gpus: int) -> bool | None:
        """Whether so many GPUs are on several nodes; None where their nodes cannot be told."""
        if gpus == 1:
            return False
        if self.placement == Placement.SPREAD:
            return True
        if self.placement.startswith(_FIXED):
            return self.placement != f"{_FIXED}1"
        if self.node_gpus is not None:
            return gpus > self.node_gpus
        if self.across and gpus >= min(self.across):
            return True
        return False if self.inside and gpus <= max(self.inside) else None

    def why_not(self, gpus: int) -> str:
        """Why nothing is known of the links that so many GPUs cross, and which cell to run; empty if they are known."""
        crosses = self.crosses(gpus)
        if crosses is not False and self.inside and not self.across:
            return self._not_between(gpus, known=crosses is True)
        if crosses is False and gpus > 1 and self.across and not self.inside:
            return (
                f"{plural(gpus, 'GPU fits|GPUs fit')} into one node, and every count that was measured "
                f"({_listed(self.across)}) ran on "
                f"several: nothing is known of the link inside – {self.measure(gpus)}"
            )
        return ""

    def _not_between(self, gpus: int, *, known: bool) -> str:
        measured = f"every count that was measured ({_listed(self.inside)}) ran inside one"
        if not known:
            return (
                f"whether {plural(gpus, 'GPU fits|GPUs fit')} into one node is not known, and {measured}: if they "
                "do not, they cross a "
                f"link that was not measured – {self.measure(gpus)}"
            )
        size = self.node_gpus or max(self.inside)
        return (
            f"{gpus} GPUs do not fit into one node of {size}, and {measured}: the link between nodes was not "
            f"measured – {self.measure(2 * size, 'gpus={} would unlock it')}"
        )


def layout_of(series: ScalingSeries) -> Layout:
    """What the points with a time say of their nodes."""
    many = [point for point in series.timed if point.gpus > 1 and point.nodes is not None]
    sizes = [run.node_gpus for run in series.timed_runs if run.node_gpus is not None]
    limits = [run.most_gpus for run in series.timed_runs if run.most_gpus is not None]
    return Layout(
        placement=series.key.placement,
        node_gpus=max(sizes, default=None),
        inside=tuple(sorted({point.gpus for point in many if point.nodes == 1})),
        across=tuple(sorted({point.gpus for point in many if point.nodes != 1})),
        most=max(limits, default=None),
    )


def _listed(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts))
