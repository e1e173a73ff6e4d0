"""Values that a profile takes from the environment of whoever submits, and values that are for few eyes. Pure.

`${oc.env:TOKEN}` stays so in every file: the script of the job, or its queue, resolves it.
"""

import re
import shlex
from collections.abc import Iterable, Mapping

_REFERENCE = re.compile(r"\$\{oc\.env:([A-Za-z_]\w*)(?:,([^{}]*))?\}")
"""Hydra's word for a variable of whoever submits, perhaps with what it is where they have none."""
_SECRET = re.compile(
    r"(^|_)(AUTH|COOKIE|CRED|DSN|JWT|KEY|PASS|PW|TOK)|(KEY|PASSWORD|SECRET|TOKEN)S?(_|$)", re.IGNORECASE
)
MASK = "***"
"""What people see of a secret."""
_OVERRIDE = re.compile(r"(?<=environment\.)(\w+)(=)(.+)")
_OVERRIDES = re.compile(r"(?<=[{,\s])(\w+)(\s*:\s*)([^,}]+)(?=[^{]*}$)")
"""Of `environment={A:b,C:d}`."""
_ASSIGNMENT = re.compile(r"""(?<![\w$.-])(\w+)(=)(?!"?[$`])((?:'[^']*'|"[^"]*"|[^\s'";])+)""")
"""Of a shell, and not of what it works out itself."""


def reference(name: str, default: object = None) -> str:
    """What stands in files for the value of a variable of whoever submits."""
    return f"${{oc.env:{name}}}" if default is None else f"${{oc.env:{name},{default}}}"


def references(values: Iterable[str]) -> set[str]:
    """Names of the variables that whoever submits must have."""
    return {name for value in values for name, default in _REFERENCE.findall(value) if not default}


def resolved(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Variables with their references replaced by what `environ` says."""
    return {
        name: _REFERENCE.sub(lambda match: environ.get(match[1], match[2] or ""), value)
        for name, value in variables.items()
    }


def shell_word(value: str) -> str:
    """A value as one word of a shell, which resolves its references; without a default, absence ends the shell.

    >>> print(shell_word("Bearer ${oc.env:TOK}"))
    'Bearer '"${TOK?is not set where this job was submitted}"
    """
    if not _REFERENCE.search(value):
        return shlex.quote(value)
    quoted_word, end = "", 0
    for part in _REFERENCE.finditer(value):
        name, default = part[1], part[2]
        quoted = re.sub(r'([\\"$`])', r"\\\1", default or "")
        fallback = f'-"{quoted}"' if default else "?is not set where this job was submitted"
        literal = value[end : part.start()]
        quoted_word += (shlex.quote(literal) if literal else "") + f'"${{{name}{fallback}}}"'
        end = part.end()
    return quoted_word + (shlex.quote(value[end:]) if value[end:] else "")


def is_secret(name: str, value: str) -> bool:
    """Whether a variable's name says that its value is for few eyes, and the value itself stands there."""
    return bool(_SECRET.search(name)) and not _REFERENCE.search(value) and value != MASK


def masked(line: str) -> str:
    """A word of a command, or a script, without the values of variables that are secret by their names.

    >>> masked("++partition.environment.TOK=abc"), masked("export A=1 TOK='a b'; export KEY=$(cat key)")
    ('++partition.environment.TOK=***', 'export A=1 TOK=***; export KEY=$(cat key)')
    """

    def mask(match: re.Match[str]) -> str:
        name, between, value = match.groups()
        return f"{name}{between}{MASK}" if is_secret(name, value) else match[0]

    for form in (_OVERRIDE, _OVERRIDES, _ASSIGNMENT):
        line = form.sub(mask, line)
    return line
