"""Profiles as files: where they lie, what they say, what discovery writes. An edge: reads and writes YAML."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from launchers.atomic import write_first
from launchers.checked import checked, field_names, parse
from launchers.errors import UserError, closest
from launchers.profile import PartitionProfile, masked_fields
from launchers.slurm.discover import Cluster, GpuPartition
from vit_sweep.config import groups
from vit_sweep.config.explain import all_keys
from vit_sweep.config.groups import Entry
from vit_sweep.config.profile.words import normalised

GROUP = "partition"


@checked
class Row:
    """One key of a profile, as `show` prints it."""

    key: str
    value: str
    given: bool
    meaning: str


def catalog(config_dir: Path | None, environ: Mapping[str, str] = os.environ) -> list[Entry]:
    """List every profile file, in the order in which Hydra looks; raises `UserError` for a folder without any."""
    if config_dir is not None and not (config_dir / GROUP).is_dir():
        raise UserError(
            f"--config-dir={config_dir}: there is no folder {config_dir / GROUP} – "
            f"name a folder that holds {GROUP}/*.yaml"
        )
    return groups.catalog(GROUP, config_dir, environ)


def of_name(entries: Iterable[Entry], name: str) -> list[Entry]:
    """Return the entry that a sweep would take, then those that it hides; raises `UserError` with the menu."""
    entries = list(entries)
    matching = [entry for entry in entries if entry.name == name]
    if not matching:
        raise UserError(f"{name}: there is no such profile – {closest(name, {entry.name for entry in entries})}")
    return matching


def load(entry: Entry, others: Iterable[Entry] = ()) -> tuple[PartitionProfile, set[str]]:
    """Read and check a profile; also returns the keys that its file gives. Raises `UserError`."""
    keys = normalised(groups.keys_of(GROUP, entry, others))
    return parse(PartitionProfile, keys, source=f"partition {entry.name}"), set(keys)


def rows(profile: PartitionProfile, stated: set[str]) -> list[Row]:
    """Every key with its value and meaning, in the order of the schema."""
    values, meaning = masked_fields(profile), meanings()
    return [
        Row(key=key, value=_yaml_line(values[key]), given=key in stated, meaning=meaning[key])
        for key in field_names(PartitionProfile)
    ]


def meanings() -> dict[str, str]:
    """What each key of a profile means, with the menu of values where there is one."""
    keys, texts = {key.name: key for key in all_keys()}, {}
    for name in field_names(PartitionProfile):
        key = keys[f"partition.{name}"]
        menu = ", ".join(value for value, _ in key.values)
        texts[name] = key.meaning + (f" One of: {menu}." if menu else "")
    return texts


def _yaml_line(value: object) -> str:
    if value is None:
        return "–"
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).removesuffix("...\n").strip()


def profile_files(cluster: Cluster, shipped_names: Iterable[str]) -> dict[str, str]:
    """The YAML text of every discovered profile by name; names that a shipped profile has get `_site`.

    Each text has been read back and checked. Raises `UserError`.
    """
    shipped, texts = set(shipped_names), {}
    for partition in cluster.gpu_partitions:
        mixed = sum(1 for other in cluster.gpu_partitions if other.partition == partition.partition) > 1
        words = [cluster.name, partition.partition, *([partition.gpu_type or "untyped"] if mixed else [])]
        name = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in "_".join(words))
        name = f"{name}_site" if name in shipped else name
        texts[name] = _yaml(name, partition, cluster)
    return texts


def _yaml(name: str, partition: GpuPartition, cluster: Cluster) -> str:
    keys = {key: partition.keys[key] for key in field_names(PartitionProfile) if key in partition.keys}
    parse(PartitionProfile, {"name": name} | keys, source=f"discovered partition {name}")
    lines = [f"# Discovered: cluster {cluster.name}, partition {partition.partition}, Slurm {cluster.version}."]
    lines += [f"# - {note}" for note in partition.notes]
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
