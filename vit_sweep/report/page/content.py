"""What a report says, as checked values: `assemble` fills them, `render` lays them out. Pure.

Texts are plain text; the page escapes them. Only `Formula.mathml` is markup, and only `mathml` makes it.
"""

from launchers.checked import checked
from vit_sweep.report.tables.rounding import plain, with_interval


@checked
class Interval:
    """A number with its 95 % interval; without one, a number on its own."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None and self.high is not None


Value = str | bool | int | float | Interval | None
"""One field of a table; None is an empty field."""


def short(value: Value, unit: str = "") -> str:
    """One field as people read it; its unit stands in the column's head, but the percent sign's factor is here."""
    if isinstance(value, Interval):
        return " ".join(filter(None, parts(value, unit)))
    return plain(value, percent=unit == "%")


def parts(value: Interval, unit: str = "") -> tuple[str, str]:
    """Its number and its interval, rounded."""
    return with_interval(value.value, value.low, value.high, percent=unit == "%")


@checked
class Column:
    """One column of a table."""

    name: str
    """As the CSV file calls it."""
    title: str = ""
    """As people read it; empty: the name."""
    unit: str = ""
    """`%` multiplies by 100: shares are stored as 0 to 1."""
    help: str = ""
    """What it means, in a few words."""


@checked
class Table:
    """One table, of full precision: the page rounds."""

    name: str
    """Unique in the report, letters, digits and dashes: its anchor and the name of its CSV file."""
    title: str
    lead: str = ""
    """What a row is."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    said_once: tuple[tuple[str, Value], ...] = ()
    """Columns that are equal in all rows, with their value: said above the table instead of in it."""
    notes: tuple[str, ...] = ()
    folded: bool = False
    """Closed until a reader opens it: long tables of detail."""
    empty: str = "There is nothing to show here."
    """What is said instead of a table without rows."""


@checked
class Figure:
    """One figure, from a file that is put into the page."""

    name: str
    title: str
    caption: str
    alt: str
    """What it shows, for who cannot see it."""
    files: tuple[str, ...]
    """The same picture in the formats that there are, as paths: .svg, .png."""


@checked
class Parameter:
    """One fitted parameter."""

    name: str
    value: Interval
    unit: str = ""


@checked
class Fit:
    """One law laid over one series, or the reason why not."""

    series: str
    law: str
    parameters: tuple[Parameter, ...] = ()
    error: float | None = None
    """Leave-one-out: the typical part by which a left-out point is missed; None where it cannot be known."""
    chosen: bool = False
    """The law that predicts left-out points best."""
    refusal: str = ""
    """Why it is not fitted, or may not be believed."""
    remarks: tuple[str, ...] = ()


@checked
class Answer:
    """One question of a study and its answer in one line."""

    question: str
    answer: str
    known: bool = True
    """False: the answer is that the data do not say."""
    about: str = ""
    """The series; empty where there is one only."""


@checked
class Finding:
    """What one rule of the audit says."""

    rule: str
    verdict: str
    """What becomes of which claims."""
    sentence: str
    bad: bool = False
    """Whether a claim falls; else it stands with a reservation."""
    about: str = ""


@checked
class Failure:
    """A cell or point without a time."""

    what: str
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
    what: str
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
    answers: tuple[Answer, ...] = ()
    answers_table: Table | None = None
    """The same in numbers, one row per series, where there are many series."""
    headline: Figure | None = None
    asked: tuple[tuple[str, str], ...] = ()
    """Axis or setting, values."""
    asked_tables: tuple[Table, ...] = ()
    machines: tuple[Table, ...] = ()
    machine_remarks: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    not_drawn: tuple[str, ...] = ()
    """Figures that were not made, and why."""
    fits: tuple[Fit, ...] = ()
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
