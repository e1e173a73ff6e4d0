"""Formulas as presentation MathML, from a plain notation: `row("S(p) = p − s(p − 1)")`. Pure.

Browsers draw MathML with their own fonts, so the page needs no script and no network for it. Every part is plain text
or MathML already made by these functions. In plain text a digit is part of a number, a letter a variable, letters
together a name, and everything else an operator.
"""

import re
from html import escape

_TOKEN = re.compile(r"\d+|[^\W\d_]+|\S")
_OPERATORS = ("ln", "max", "min", "median")
"""Names with the room of an operator around them."""


def words(text: str) -> str:
    """Words within a formula."""
    return f"<mtext>{escape(text)}</mtext>"


def row(*parts: str) -> str:
    """Things beside each other."""
    return f"<mrow>{''.join(map(_read, parts))}</mrow>"


def frac(above: str, below: str) -> str:
    return f"<mfrac>{_element(above)}{_element(below)}</mfrac>"


def sub(base: str, below: str) -> str:
    return f"<msub>{_element(base)}{_element(below)}</msub>"


def over(operator: str, below: str, of: str) -> str:
    """An operator with the set below it that it is over, and what it is of."""
    return row(f"<munder>{_element(operator)}{_element(below)}</munder>", of)


def root(content: str) -> str:
    return f"<msqrt>{_element(content)}</msqrt>"


def formula(*contents: str, plain: str) -> str:
    """Displayed formulas, which a narrow page puts below each other; `plain` is read aloud, a comma between two."""
    aloud = plain.split(", ") if len(contents) > 1 else [plain]
    return "".join(
        f'<math display="block" alttext="{escape(words)}">{content}</math>'
        for content, words in zip(contents, aloud, strict=True)
    )


def _element(part: str) -> str:
    """A part as a single element, where MathML counts its children."""
    return part if part.startswith("<") else row(part)


def _read(part: str) -> str:
    return part if part.startswith("<") else "".join(map(_token, _TOKEN.findall(part)))


def _token(text: str) -> str:
    if text.isdigit():
        return f"<mn>{text}</mn>"
    if text.isalpha() and text not in _OPERATORS:
        # More than one letter stands upright, as a word does.
        return f"<mi>{text}</mi>" if len(text) == 1 else f'<mi mathvariant="normal">{text}</mi>'
    stretch = ' stretchy="false"' if text in "()" else ""  # a bracket stays as high as a line
    return f"<mo{stretch}>{escape(text)}</mo>"
