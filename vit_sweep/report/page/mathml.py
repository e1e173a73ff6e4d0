"""Formulas as presentation MathML: a few words from which the methods text is made. Pure.

Browsers draw MathML with their own fonts, so the page needs no script and no network for it.
"""

from html import escape


def ident(name: str) -> str:
    """A variable; more than one letter stands upright, as a word does."""
    return f"<mi>{escape(name)}</mi>" if len(name) == 1 else f'<mi mathvariant="normal">{escape(name)}</mi>'


def number(value: str) -> str:
    """A number."""
    return f"<mn>{escape(value)}</mn>"


def op(sign: str) -> str:
    """An operator: =, +, a minus sign; a bracket stays as high as a line."""
    stretch = ' stretchy="false"' if sign in "()" else ""
    return f"<mo{stretch}>{escape(sign)}</mo>"


def words(text: str) -> str:
    """Words within a formula."""
    return f"<mtext>{escape(text)}</mtext>"


def gap() -> str:
    """Room between two formulas on a line."""
    return '<mspace width="1.2em"></mspace>'


def row(*parts: str) -> str:
    """Things beside each other."""
    return f"<mrow>{''.join(parts)}</mrow>"


def frac(above: str, below: str) -> str:
    """A fraction."""
    return f"<mfrac>{above}{below}</mfrac>"


def sub(base: str, below: str) -> str:
    """An index."""
    return f"<msub>{base}{below}</msub>"


def under(base: str, below: str) -> str:
    """Something below an operator: the set that a maximum is over."""
    return f"<munder>{base}{below}</munder>"


def root(content: str) -> str:
    """A square root."""
    return f"<msqrt>{content}</msqrt>"


def call(name: str, *arguments: str) -> str:
    """A function of something: T(p)."""
    inside = op(",").join(arguments)
    return row(name if name.startswith("<") else ident(name), op("("), inside, op(")"))


def formula(content: str, *, plain: str) -> str:
    """A displayed formula; `plain` is what is read aloud."""
    return f'<math display="block" alttext="{escape(plain)}">{content}</math>'
