"""Shorthand of a command: words that stand for several, or that Hydra reads only in another order or in quotes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from launchers.errors import UserError
from launchers.merged_profile import JOIN
from vit_sweep.config.folders import DEFAULT_PARTITION, conf_dir, site_dir
from vit_sweep.config.spelling import parts
from vit_sweep.config.words import quoted

OTHERS = "other_partitions"
"""Where the other profiles of `partition=a+b` are composed."""
_CONFIG_DIR = ("--config-dir", "-cd")


def expanded(words: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """The words of a sweep, `data=photos/leaves` as the two words that it stands for, `partition=a+b` likewise.

    So is `data=photos` where such a folder or file is there and no data set is called so. `config_dir`: a folder of
    one's own groups, which a command names by its option. Raises `UserError` for a site's folder that is not there.
    """
    own_config = config_dir or _config_dir(words)
    spelled: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        paths = value.split(",")
        if key == "data" and all("/" in path or _is_path(path, own_config) for path in paths):
            from vit_sweep.data.request import kind_of

            kinds = {path: kind_of(path) for path in paths}
            if len(set(kinds.values())) > 1:
                raise UserError(
                    f"data={value}: {', '.join(f'{path} is {kind.value}' for path, kind in kinds.items())}; paths of "
                    "one axis are of one kind, so give each kind a command of its own"
                )
            spelled += [f"data={kinds[paths[0]]}", f"data.path={','.join(map(quoted, paths))}"]
        elif key == "partition" and JOIN in value and not _is_group_file("partition", value.strip("'\""), own_config):
            spelled += _partition_alternatives(word, value.strip("'\""))
        else:
            spelled.append(word)
    return spelled


def with_default_partition(
    words: Sequence[str], environ: Mapping[str, str], config_dir: Path | None = None
) -> list[str]:
    """The words of a sweep with the partition of the environment, where neither they nor their named grid name one.

    It means what it would in the command: `a+b` whichever starts a cell first, `a,b` each; so does `a+b` in a grid.
    `config_dir` as in `expanded`. Raises `UserError` for a name that is missing beside the sign.
    """
    if any(word.lstrip("+").startswith("partition=") for word in words):
        return [*words]
    own_config, source = config_dir or _config_dir(words), DEFAULT_PARTITION
    value = environ.get(DEFAULT_PARTITION, "").strip()
    if of_grid := _partition_of_grid(words, own_config, always=bool(value)):
        source, value = "partition", of_grid if JOIN in of_grid else ""  # a single one is among the grid's own words
    if JOIN in value and not _is_group_file("partition", value, own_config):
        return [*words, *_partition_alternatives(f"{source}={value}", value)]
    return [*words, f"partition={value}"] if value else [*words]


def _partition_of_grid(words: Sequence[str], config_dir: Path | None, *, always: bool) -> str:
    """What the named grid of a command says of partitions; without `always` only where it may name several."""
    name = next((word.removeprefix("grid=") for word in words if word.startswith("grid=")), "")
    path = _group_file("grid", name, config_dir)
    if path is None or not (always or JOIN in path.read_text(errors="replace")):
        return ""
    from vit_sweep.config.groups import Entry, keys_of

    keys = keys_of("grid", Entry(name=name, path=str(path), origin="site"))
    parts = [part for part in (keys.get("axes"), keys.get("set")) if isinstance(part, dict)]
    stated = next((part["partition"] for part in parts if "partition" in part), ())
    return stated if isinstance(stated, str) else ",".join(map(str, stated))


def _partition_alternatives(word: str, value: str) -> list[str]:
    """`partition=a+b` in Hydra's grammar: the first profile, and the others composed beside it."""
    if "," in value:
        raise UserError(
            f"{word}: {JOIN} leaves it to Slurm where a cell runs, a comma runs it on each; use one of both"
        )
    first, *others = value.split(JOIN)
    if not first or not all(others):
        key = word.partition("=")[0]
        raise UserError(f"{word}: a profile is missing beside {JOIN}; write {key}=NAME{JOIN}NAME")
    return [f"partition={first}", *(f"+partition@{OTHERS}.{i}={name}" for i, name in enumerate(others))]


def _config_dir(words: Sequence[str]) -> Path | None:
    """The folder that a command names as one of groups."""
    for place, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in _CONFIG_DIR and (folder := value or "".join(words[place + 1 : place + 2])):
            return Path(folder)
    return None


def _is_path(name: str, config_dir: Path | None) -> bool:
    """Whether a word without a slash is something in this folder; of a data set, its name goes first."""
    return bool(name) and Path(name).exists() and not _is_group_file("data", name, config_dir)


def _is_group_file(group: str, name: str, config_dir: Path | None) -> bool:
    return _group_file(group, name, config_dir) is not None


def _group_file(group: str, name: str, config_dir: Path | None) -> Path | None:
    """The file of this name in one of the folders of configuration."""
    places = (conf_dir(), config_dir, site_dir(os.environ))
    files = (place / group / f"{name}.yaml" for place in places if place is not None)
    return next((file for file in files if file.exists()), None)


def options_first(words: Sequence[str]) -> list[str]:
    """The words with Hydra's options before all others, wherever they stood: argparse takes none between two overrides.

    >>> options_first(["gpus=1", "--config-dir", "site", "batch=2", "-m"])
    ['--config-dir', 'site', '-m', 'gpus=1', 'batch=2']
    """
    all_parts = list(parts(words))
    options = [text for part in all_parts if part.word.startswith("-") for text in (part.word, part.value) if text]
    return [*options, *(part.word for part in all_parts if not part.word.startswith("-"))]


def question_quoted(words: Sequence[str]) -> list[str]:
    """The words with the question of `until=` between quotes, since brackets and signs are Hydra's grammar.

    >>> question_quoted(["until=time(16) +- 2 %", "gpus=1,2"])
    ["until='time(16) +- 2 %'", 'gpus=1,2']
    """
    return [_quoted(word) if word.startswith("until=") else word for word in words]


def _quoted(word: str) -> str:
    key, _, value = word.partition("=")
    value = value.strip()
    if value in ("", "null") or value[0] in "'\"":
        return word
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"
