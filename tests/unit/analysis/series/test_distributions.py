"""Student's t and F are scipy's own, without the rest of its package, which stays to be imported."""

import subprocess
import sys

PROBE = """
import sys
from vit_sweep.analysis.series import distributions
assert "scipy.special" not in sys.modules, "the whole package"
assert not {"numpy.f2py", "numpy.testing"} & sys.modules.keys(), "what only the whole package needs"
import scipy.optimize, scipy.special
for name in ("fdtrc", "stdtr", "stdtrit"):
    assert getattr(scipy.special, name) is getattr(distributions, name), name
assert scipy.special.gamma(5) == 24
"""


def test_no_more_of_scipy_is_imported_than_needed_and_all_of_it_can_be():
    answer = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
