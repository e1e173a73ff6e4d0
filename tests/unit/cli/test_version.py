"""`--version` is ours, not Hydra's."""

from vit_sweep import __version__
from vit_sweep.__main__ import main


def test_the_version_is_that_of_this_program(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vit_sweep {__version__}\n"
