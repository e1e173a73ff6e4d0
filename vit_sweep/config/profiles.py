"""Profiles as files: where they lie, what they say, what discovery writes. An edge: reads and writes YAML."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter

from launchers.atomic import write_first
from launchers.checked import checked, field_names, parse, to_plain
from launchers.errors import UserError, closest
from launchers.profile import PartitionProfile
from launchers.slurm.discover import Cluster, Found
from vit_sweep.config.compose import conf_dir

SITE_VARIABLE = "VIT_SWEEP_CONF"


@checked
class Entry:
    """One profile file."""

    name: str
    """The file's name without `.yaml`: the word after `partition=`."""
    path: str
    origin: str
    """`shipped`, `--config-dir` or `site`."""
    hidden_by: str | None = None
    """Path of the file of the same name that a sweep takes instead."""


@checked
class Row:
    """One key of a profile, as `show` prints it."""

    key: str
    value: str
    given: bool
    meaning: str


def catalog(config_dir: Path | None, environ: Mapping[str, str] = os.environ) -> list[Entry]:
    """List every profile file, in the order in which Hydra looks: shipped, --config-dir, site.

    Raises `UserError` for a folder that cannot be read.
    """
    places = [("shipped", conf_dir())]
    if config_dir is not None:
        if not (config_dir / "partition").is_dir():
            raise UserError(
                f"--config-dir={config_dir}: there is no folder {config_dir / 'partition'} – "
                "name a folder that holds partition/*.yaml"
            )
        places.append(("--config-dir", config_dir))
    site = environ.get(SITE_VARIABLE)
    if site is not None:
        if not Path(site).is_dir():
            raise UserError(
                f"{SITE_VARIABLE}={site}: there is no such folder; it names a site's own conf/, or unset it"
            )
        places.append(("site", Path(site)))
    entries: list[Entry] = []
    first: dict[str, str] = {}
    for origin, folder in places:
        for path in _files(folder / "partition"):
            entries.append(
                Entry(name=path.stem, path=str(path), origin=origin, hidden_by=first.get(path.stem)),
            )
            first.setdefault(path.stem, str(path))
    return entries


def _files(folder: Path) -> list[Path]:
    """The YAML files of a folder; none where a site has no partitions of its own."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".yaml") if folder.exists() else []
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}; it must be a folder that you may list") from None


def pick(entries: Iterable[Entry], name: str) -> Entry:
    """Return the entry that a sweep would take; raises `UserError` with the menu."""
    return of_name(entries, name)[0]


def of_name(entries: Iterable[Entry], name: str) -> list[Entry]:
    """Return the entry that a sweep would take, then those that it hides; raises `UserError` with the menu."""
    every = list(entries)
    found = [entry for entry in every if entry.name == name]
    if not found:
        raise UserError(f"{name}: there is no such profile – {closest(name, {entry.name for entry in every})}")
    return found


def load(entry: Entry, others: Iterable[Entry] = ()) -> tuple[PartitionProfile, set[str]]:
    """Read and check a profile; also returns the keys that its file gives. Raises `UserError`."""
    given = read_mapping(Path(entry.path))
    if "defaults" in given:
        given = _composed(entry, others)
    return parse(PartitionProfile, given, what=f"partition {entry.name}"), set(given)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys; raises `UserError` that names the file and what is wrong."""
    try:
        loaded = OmegaConf.load(path)
        plain = OmegaConf.to_container(loaded, resolve=True)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(plain, dict):
        raise UserError(f"{path}: a profile is a list of `key: value` lines, this is not")
    return {str(key): value for key, value in plain.items()}


def _composed(entry: Entry, others: Iterable[Entry]) -> dict[str, Any]:
    """The keys of a profile that builds on another one by a Hydra `defaults` list."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    from vit_sweep.config.compose import explain, plain

    folders = dict.fromkeys(
        str(Path(e.path).parent.parent.absolute()) for e in (*others, entry) if e.origin != "shipped"
    )
    search = ",".join(f"'{folder}'" for folder in folders)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            config = compose("config", overrides=[f"partition={entry.name}", f"hydra.searchpath=[{search}]"])
            composed = plain(config)["partition"]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{entry.path}: {explain(error)}") from None
    assert isinstance(composed, dict)
    return composed


def rows(profile: PartitionProfile, given: set[str]) -> list[Row]:
    """Every key with its value and meaning, in the order of the schema."""
    values, meaning = to_plain(profile), meanings()
    return [
        Row(key=key, value=_shown(values[key]), given=key in given, meaning=meaning[key])
        for key in field_names(PartitionProfile)
    ]


def meanings() -> dict[str, str]:
    """What each key of a profile means: the schema's own words, with the menu of values where there is one."""
    schema = TypeAdapter(PartitionProfile).json_schema()
    words: dict[str, str] = {}
    for key, about in schema["properties"].items():
        referred = schema["$defs"].get(str(about.get("$ref", "")).rpartition("/")[2], {})
        # Where a key's words are its type's own, the schema says them once, at the type.
        text = " ".join(str(about.get("description") or referred["description"]).split())
        menu = referred.get("enum")
        words[key] = f"{text} One of: {', '.join(menu)}." if menu else text
    return words


def _shown(value: object) -> str:
    """A value as one line of YAML."""
    if value is None:
        return "–"
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()


def profile_files(cluster: Cluster, taken: Iterable[str]) -> dict[str, str]:
    """The YAML text of every discovered profile by name; names that a shipped profile has get `_site`.

    Each text has been read back and checked. Raises `UserError`.
    """
    shipped, texts = set(taken), {}
    for found in cluster.found:
        mixed = sum(1 for other in cluster.found if other.partition == found.partition) > 1
        words = [cluster.name, found.partition, *([found.gpu_type or "untyped"] if mixed else [])]
        name = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in "_".join(words))
        name = f"{name}_site" if name in shipped else name
        texts[name] = _yaml(name, found, cluster)
    return texts


def _yaml(name: str, found: Found, cluster: Cluster) -> str:
    keys = {key: found.keys[key] for key in field_names(PartitionProfile) if key in found.keys}
    parse(PartitionProfile, {"name": name} | keys, what=f"discovered partition {name}")
    lines = [f"# Discovered: cluster {cluster.name}, partition {found.partition}, Slurm {cluster.version}."]
    lines += [f"# - {note}" for note in found.notes]
    return "\n".join([*lines, OmegaConf.to_yaml(OmegaConf.create({"name": name} | keys))])


def write_profiles(folder: Path, texts: Mapping[str, str]) -> tuple[list[Path], list[Path]]:
    """Write `folder/partition/NAME.yaml`; returns the new files and those that were there and were left alone."""
    target = folder / "partition"
    try:
        target.mkdir(parents=True, exist_ok=True)
        paths = {target / f"{name}.yaml": text for name, text in texts.items()}
        new = [path for path, text in paths.items() if not path.exists() and write_first(path, text)]
    except OSError as error:
        raise UserError(
            f"--write={folder}: {error.strerror}: {error.filename}; name a folder that you may write"
        ) from None
    return new, [path for path in paths if path not in new]
