"""The verbs `completion install | show`: the tab key completes verbs, studies, keys and groups. An edge."""

import os
from pathlib import Path
from typing import Annotated

import typer
from typer._completion_shared import Shells, get_completion_script
from typer._completion_shared import install as install_for

from launchers.errors import UserError
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.help_text import examples
from vit_sweep.cli.terminal.options.completing import VARIABLE

app = typer.Typer(no_args_is_help=True, help="The tab key completes verbs, studies, keys and the names of groups.")
_OURS = (Shells.bash, Shells.zsh, Shells.fish)
Shell = Annotated[
    str | None,
    typer.Argument(
        help="bash, zsh or fish; without it the shell that you use.",
        autocompletion=lambda incomplete: [shell.value for shell in _OURS if shell.startswith(incomplete)],
    ),
]
_PROGRAM = "vit_sweep"
_NO_BLANK = "    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace\n    return 0"
"""After `gpus=` a value follows, no blank."""
_ZSH = r"""#compdef %(program)s

_%(program)s_completion() {
  local -a found keys others
  found=("${(@f)$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _TYPER_COMPLETE_FISH_ACTION=get-args \
    %(variable)s=complete_fish %(program)s)}")
  keys=("${(@M)found:#*=}")
  others=("${(@)found:#(|*=)}")
  others=("${(@)${(@)others//:/\\:}/$'\t'/:}")
  (( $#keys )) && compadd -S '' -a keys
  (( $#others )) && _describe -t words 'word' others
  (( $#keys + $#others )) || _files
}

compdef _%(program)s_completion %(program)s
[[ ${funcstack[1]-} == _%(program)s ]] && _%(program)s_completion "$@"
"""
"""typer's own puts a blank behind `gpus=`, and completes nothing when the tab key is first pressed: zsh then loads the
file by calling it."""


@app.command("install", epilog=examples("completion install"))
def install(shell: Shell = None) -> None:
    """Let the tab key complete the words of `vit_sweep` in every shell that begins from now on."""
    chosen = _known(shell)
    _, path = install_for(chosen, _PROGRAM, VARIABLE)
    if chosen != Shells.fish:
        path.write_text(f"{_script(chosen)}\n")
    show.console().print(
        f"{chosen} completes the words of vit_sweep from its next start on: {path}; "
        "it does so for `vit_sweep`, not for `python -m vit_sweep`",
        soft_wrap=True,
    )


@app.command("show", epilog=examples("completion show bash > /etc/bash_completion.d/vit_sweep"))
def show_script(shell: Shell = None) -> None:
    """Print what a shell has to read for that: for an admin, or for whoever keeps such files by hand."""
    typer.echo(_script(_known(shell)))


def _script(shell: str) -> str:
    script = get_completion_script(prog_name=_PROGRAM, complete_var=VARIABLE, shell=shell)
    if shell == Shells.zsh:
        return _ZSH % {"program": _PROGRAM, "variable": VARIABLE}
    return script.replace("    return 0", _NO_BLANK) if shell == Shells.bash else script


def _known(shell: str | None) -> str:
    """The shell's name; raises `UserError` for one without completion."""
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in _OURS:
        subject = f"completion {name}" if name else "completion: the variable SHELL does not say your shell"
        raise UserError(f"{subject} – known: {', '.join(_OURS)}; write for example: vit_sweep completion install bash")
    return name
