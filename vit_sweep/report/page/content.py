"""What a report says, as checked values: `assemble` fills them, `render` lays them out. Pure.

Texts are plain text; the page escapes them. Only `Formula.mathml` is markup, and only `mathml` makes it.
"""

from launchers.checked import checked
from vit_sweep.analysis.answers import Answer
from vit_sweep.analysis.audit.finding import Finding
from vit_sweep.analysis.laws.fitted import Fit
from vit_sweep.report.figure import Figure
from vit_sweep.report.page.curves import Curve
from vit_sweep.report.page.verdict import Card
from vit_sweep.report.tables.form.table import Table


@checked
class Failure:
    """A cell or point without a time."""

    name: str
    status: str
    cause: str
    sentence: str
    """Why, and what to do."""


@checked
class Formula:
    """One definition of the methods text."""

    term: str
    text: str
    mathml: str = ""
    """Presentation MathML; empty where words suffice."""
    plain: str = ""
    """The same formula in one line of text: read aloud, searched, and used in Markdown."""
    source: str = ""
    """Who defined it, or where in this project it is computed."""


@checked
class Command:
    """One command that was given for this study."""

    line: str
    at: str
    host: str = ""
    commit: str = ""
    code: str = ""
    """Digest of the code that its jobs import."""
    versions: tuple[tuple[str, str], ...] = ()


@checked
class StudyFile:
    """A file that the report rests on."""

    path: str
    """From the report's folder."""
    meaning: str
    sha256: str = ""


@checked
class Proposal:
    """What an application for compute time asks for, and why it may."""

    threshold: float
    """Least parallel efficiency, 0 to 1."""
    summary: tuple[str, ...]
    """Sentences that can stand on their own."""
    resources: Table
    evidence: Table
    figure: Figure | None = None
    storage: tuple[tuple[str, str], ...] = ()
    """What, and how much."""
    caveats: tuple[str, ...] = ()
    """What a reviewer should know, refusals in particular."""


@checked
class Section:
    """Tables and figures of one kind, under a heading of their own."""

    name: str
    title: str
    lead: str = ""
    notes: tuple[str, ...] = ()
    """What must be known to read it."""
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()


@checked
class ReportContent:
    """All of a report. What is empty is said to be empty."""

    study: str
    subtitle: str
    """What was measured, in one line."""
    generated_by: str
    """Tool and version; no clock: the same records make the same report."""
    status: str
    """How many runs are done, in one sentence."""
    cards: tuple[Card, ...] = ()
    """The first screen: a few questions and their answers in a line."""
    curves: tuple[Curve, ...] = ()
    """What the reader may ask with pointer and sliders."""
    answers: tuple[tuple[str, Answer], ...] = ()
    """With the series that each is about; empty where there is one only."""
    answers_table: Table | None = None
    """The same in numbers, one row per series, where there are several."""
    contended: tuple[str, ...] = ()
    """Runs of contended hosts, said once in each section that pools or compares times."""
    headline: Figure | None = None
    requested: tuple[tuple[str, str], ...] = ()
    """Axis or setting, values."""
    requested_tables: tuple[Table, ...] = ()
    machines: tuple[Table, ...] = ()
    machine_remarks: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    """Of the study; like `failure_tables` they are laid out compactly."""
    figures: tuple[Figure, ...] = ()
    not_drawn: tuple[str, ...] = ()
    """Figures that were not made, and why."""
    fits: tuple[tuple[str, tuple[Fit, ...]], ...] = ()
    """Series, all laws that were laid over it."""
    fit_remarks: tuple[str, ...] = ()
    reference: Section | None = None
    """One's own curve beside a published one."""
    findings: tuple[Finding, ...] = ()
    audit_tables: tuple[Table, ...] = ()
    """Claims first; they come before the findings, the others after."""
    failures: tuple[Failure, ...] = ()
    failure_tables: tuple[Table, ...] = ()
    problems: tuple[str, ...] = ()
    """Files that were passed over, and why."""
    methods: tuple[Formula, ...] = ()
    methods_lead: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    reproduce: tuple[str, ...] = ()
    """What to type, line by line."""
    digests: tuple[tuple[str, str], ...] = ()
    files: tuple[StudyFile, ...] = ()
    proposal: Proposal | None = None
