"""`--version` is ours, not Hydra's."""

import subprocess
import sys

from vit_sweep import __version__
from vit_sweep.__main__ import main


def test_the_version_is_that_of_this_program(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vit_sweep {__version__}\n"


def test_an_end_with_torch_in_memory_says_nothing(tmp_path):
    """Of a garbage collector that is frozen, what torch may import says on stderr that it leaks."""
    code = "import sys, torch._dynamo; from vit_sweep.__main__ import script; sys.argv[1:] = ['--version']; script()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
