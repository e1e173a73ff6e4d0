"""What a capsule is, in the words of RO-Crate 1.1 (https://w3id.org/ro/crate/1.1). The one place that knows rocrate."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.person import Person
from rocrate.rocrate import ROCrate

from launchers.text import indented
from vit_sweep.report.capsule.metadata import About

_VERSION = "1.1"
_TYPES = {
    ".cff": "application/yaml",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".txt": "text/plain",
}


def metadata(about: About, described: Iterable[tuple[str, str]]) -> str:
    """`ro-crate-metadata.json`. `described`: path and what it is, of each file, and of folders, which end with `/`."""
    crate = ROCrate(version=_VERSION)
    root = crate.root_dataset
    crate.name, crate.description = about.title, about.description
    crate.datePublished = date.fromisoformat(about.date)
    licence = _entity(crate, f"https://spdx.org/licenses/{about.license}", "CreativeWork", name=about.license)
    root["license"] = licence
    root["author"] = [crate.add(Person(crate, author.id, {"name": author.name})) for author in about.authors]
    for path, meaning in described:
        properties: dict[str, Any] = {"name": path.rstrip("/").rpartition("/")[2], "description": meaning}
        if path.endswith("/"):
            crate.add_dataset(dest_path=path, properties=properties)
        else:
            suffix = path[path.rfind(".") :]
            kind = {"encodingFormat": _TYPES[suffix]} if suffix in _TYPES else {}
            crate.add_file(dest_path=path, properties=properties | kind)
    used = _entity(
        crate,
        "#vit_sweep",
        "SoftwareApplication",
        name="vit_sweep",
        version=about.version,
        softwareVersion=about.version,
    )
    sources = [
        _entity(
            crate,
            f"#code-{code}",
            "SoftwareSourceCode",
            name=f"vit_sweep, code {code}",
            programmingLanguage="Python",
            license={"@id": "https://spdx.org/licenses/MIT"},
        )
        for code in about.code
    ]
    if sources and about.license != "MIT":
        _entity(crate, "https://spdx.org/licenses/MIT", "CreativeWork", name="MIT")
    times = {"startTime": about.began, "endTime": about.ended} if about.began else {}
    run = _entity(
        crate,
        "#runs",
        "CreateAction",
        name=f"The runs of study {about.name}",
        instrument=[{"@id": entity.id} for entity in (used, *sources)],
        agent=[{"@id": author.id} for author in about.authors],
        result={"@id": f"outputs/{about.name}/cells/"},
        **times,
    )
    root["mentions"] = [run]
    return indented(crate.metadata.generate(), sort_keys=True) + "\n"


def _entity(crate: ROCrate, identifier: str, kind: str, /, **properties: Any) -> ContextEntity:
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind} | properties))
