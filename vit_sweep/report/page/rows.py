"""The rows of a table as HTML. Pure.

Not in a template: a macro for each of the fifty thousand fields of a thousand runs takes five times as long.
"""

import re

from markupsafe import Markup, escape

from vit_sweep.report.page.layout import Layout, numeric, shown
from vit_sweep.report.tables.form.rounding import is_number
from vit_sweep.report.tables.form.table import Cells, Column

_CELL_ID = re.compile(r"\bn\d+-g\d+(?:-\w+)+")


def unbroken(text: str) -> Markup:
    """Text whose ids of cells no line breaks: browsers would, at their hyphens."""
    return Markup(_CELL_ID.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def body(laid: Layout) -> Markup:
    """The rows; a field has its exact value in `data-v` where its text says it otherwise."""
    columns = [_column(laid, column, first=index == 0) for index, column in enumerate(laid.columns)]
    return Markup("".join(f"<tr>\n{''.join(row)}</tr>\n" for row in zip(*columns, strict=True)))


def _column(laid: Layout, column: Column, *, first: bool) -> list[str]:
    """The fields of a column, from the top."""
    names = ["number"] * numeric(laid.rows, column) + ["more"] * (column.name in laid.more)
    opening = ('<th scope="row"' if first else "<td") + (f' class="{" ".join(names)}"' if names else "")
    closing = "</th>\n" if first else "</td>\n"
    return [f"{opening}{_field(column, row, first=first)}{closing}" for row in laid.rows]


def _field(column: Column, row: Cells, *, first: bool) -> str:
    """What follows the name and class of a field's element: its exact value, `>`, and its text."""
    number, interval, value, low, high = shown(column, row)
    if interval:
        exact = f' data-v="{value}" data-low="{low}" data-high="{high}"'
        text = f"{number} {interval}" if first else f'{number} <span class="interval">{interval}</span>'
    else:
        plain = is_number(row[column.name])  # which needs no escaping
        exact = "" if value == number else f' data-v="{value if plain else escape(value)}"'
        text = number if plain else escape(number) if first else unbroken(number)
    return f"{exact}><span>{text}</span>" if first else f"{exact}>{text}"
