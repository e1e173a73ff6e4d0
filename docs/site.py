"""What MkDocs does beside reading `docs/`: the top folder has pages of the site too, and consoles are of one kind."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parent.parent
_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the top folder, their links as seen from `docs/`."""
    for source, page in _PAGES.items():
        text = _LINK.sub(_from_docs, (_ROOT / source).read_text())
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave out what a console says to tests alone; MkDocs takes no block with such a word for one of code."""
    return markdown.replace("```console measured\n", "```console\n")


def _from_docs(link: re.Match[str]) -> str:
    """A link of the top folder as one of `docs/`; what is no page of the site is named without a link."""
    mark, text, target, anchor = link.groups()
    page = _PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
    return f"{mark}[{text}]({page}{anchor or ''})" if page else text
