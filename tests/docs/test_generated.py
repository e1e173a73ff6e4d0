"""What the docs say of keys, columns and codes is what the code says."""

import pytest

from tests.conftest import ROOT
from tests.docs.generated import PARTS, filled


@pytest.mark.parametrize("name", PARTS)
def test_a_generated_part_says_what_the_code_says(name, request):
    """After a change: --renew-golden writes it anew; read the diff."""
    page = ROOT / "docs" / name
    wanted = filled(page, PARTS[name])
    if request.config.getoption("--renew-golden"):
        page.write_text(wanted, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == wanted


def test_a_page_without_a_place_for_its_part_is_named(tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="0 places for the part runs"):
        filled(tmp_path / "page.md", {"runs": "x"})
