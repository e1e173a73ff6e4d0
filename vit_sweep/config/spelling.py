"""How the words of a sweep are spelt: a slip of the grammar, or a name that other tools use, gets the right spelling.

Looked at before Hydra reads the command, whose own words on it are those of its grammar's tokens.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from launchers.errors import SHORT_MENU, UserError, closest, nearest
from launchers.invocation import called

FLAGS = {
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"),
    *("--shell-completion", "-sc"),
}
"""Hydra's options that stand alone."""
VALUED = {
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--experimental-rerun", "--info", "-i"),
}
"""Hydra's options that a value follows."""
_OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w./@:$-]*\s*=")
_KEY_ALIASES = {
    "arch": "model",
    "architecture": "model",
    "batch_size": "batch",
    "dataset": "data",
    "devices": "gpus",
    "dtype": "precision",
    "epoch": "epochs",
    "gradient_accumulation": "accum",
    "gradient_accumulation_steps": "accum",
    "lr": "learning_rate",
    "max_epochs": "epochs",
    "micro_batch": "batch",
    "micro_batch_size": "batch",
    "n_gpus": "gpus",
    "name": "study",
    "ngpus": "gpus",
    "num_gpus": "gpus",
    "num_nodes": "nodes",
    "num_workers": "data_workers",
    "output": "outputs",
    "queue": "partition",
    "resolution": "image_size",
    "seeds": "repeats",
    "stage": "zero",
    "time": "minutes",
    "time_limit": "minutes",
    "warmup_epochs": "lr_warmup_epochs",
    "warmup": "lr_warmup_epochs",
    "wd": "weight_decay",
    "workers": "data_workers",
    "world_size": "gpus",
    "zero_stage": "zero",
}
"""What other tools call our keys; the last part of a key with dots."""
_DRY_RUN_ALIASES = {"dryrun", "dry", "n"}
"""What other tools call a dry run."""


_SIZES = {"tiny": "ti_16", "small": "s_16", "base": "b_16", "large": "l_16", "huge": "h_14"}
_NAME_ALIASES = {
    "engine": {
        "deepspeed": "zero0", "fsdp": "fsdp2", "distributed": "ddp", "megatron_core": "megatron",
        **{f"{word}{stage}": f"zero{stage}" for word in ("stage", "deepspeed", "ds") for stage in range(4)},
    },
    "model": {
        f"{before}{size}{after}": f"vit_{ours}"
        for size, ours in _SIZES.items() for before in ("", "vit") for after in ("", "16", "14", "patch16", "patch14")
    },
    "optimizer": {"momentum": "sgd"},
    "partition": {"cpu": "local", "laptop": "local", "gpu": "local_gpu", "cuda": "local_gpu"},
    "precision": {
        "float32": "fp32", "single": "fp32", "float": "fp32", "32": "fp32", "float16": "fp16", "half": "fp16",
        "16": "fp16", "bfloat16": "bf16", "bfloat": "bf16", "amp": "bf16_amp", "mixed": "bf16_amp",
    },
    "task": {"classify": "classification", "clip": "contrastive"},
}  # fmt: skip
"""What other tools and people call our names; without punctuation, in small letters."""

_HYDRAS_OWN = (
    (r"launcher\b", "jobs are started as the partition says: partition=NAME minutes=60"),
    (r"sweeper\b", "the whole grid is planned at once, which no other sweeper does; leave it out"),
    (
        r"(run|sweep)\.|output_subdir\b|job\.chdir\b",
        "what a sweep writes lies in one folder: outputs=FOLDER study=NAME",
    ),
)
"""What Hydra's own settings say elsewhere and would be passed over here, and what to write."""
_AS_IT_IS = ("hydra/launcher=basic", "hydra/sweeper=vit_sweep")


def likely_name(group: str, name: str) -> str | None:
    """The name that somebody means by another word for it; None where nobody knows."""
    letters = "".join(filter(str.isalnum, name.lower()))
    by_letters = {"".join(filter(str.isalnum, other)): ours for other, ours in _NAME_ALIASES.get(group, {}).items()}
    return by_letters.get(letters)


GROUPS = frozenset({"data", "engine", "grid", "model", "optimizer", "partition"})
"""Keys whose values are names of files: folders of conf/."""
COUNTS = frozenset({"gpus", "nodes", "batch", "accum", "epochs", "warmup_steps", "seed", "zero", "sequence"})
"""Keys of a grid whose values are whole numbers."""
_SWEPT = re.compile(r"[^\[{('\"]*,|range\(")
"""How a value begins that is several: no list is, nor a text in quotes."""
_SEVERAL = re.compile(r"\d+(\s*(\.\.+|[-:;/,x]|to|\s)\s*\d+)+")
_NO_NAME = re.compile(r"null|true|false|[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?|inf|nan", re.IGNORECASE)
"""What Hydra reads as another value than a text."""


def likely_key(key: str, known: Collection[str]) -> str:
    """What somebody means by a key that there is not, by meaning first, then by its letters."""
    group, _, last = key.rpartition(".")
    ours = _KEY_ALIASES.get(last.lower(), last.lower())
    by_meaning = sorted((name for name in known if name.rpartition(".")[2] == ours), key=lambda name: name.count("."))
    if by_meaning:
        return f"did you mean {by_meaning[0]}?"
    names = [name.removeprefix(f"{group}.") for name in known]
    if nearest(last, names) or len(names) <= SHORT_MENU:
        return closest(last, names)
    return f"{called()} --help lists all keys"


class Part(NamedTuple):
    """A word of a command, with the value that belongs to it."""

    place: int
    word: str
    value: str | None
    """Of an option that one follows; None: none does."""


def parts(words: Sequence[str]) -> Iterator[Part]:
    """The words in their order; the value of an option is no word of its own."""
    numbered = iter(enumerate(words))
    for place, word in numbered:
        yield Part(place, word, next(numbered, (place, ""))[1] if word in VALUED else None)


def check(words: Sequence[str], *, known_keys: Callable[[], Collection[str]]) -> None:
    """Raise `UserError` for the first slip of the grammar, with the right spelling.

    `known_keys` lists the keys of a command; it is asked only where a word looks like an option.
    """
    for place, word, value in parts(words):
        if not word.strip():
            raise UserError(
                f"word {place + 1} of the command is empty – is a variable of the shell not set? Leave it out, or give "
                "it as KEY=VALUE"
            )
        if word.startswith("-"):
            if value is None and word.partition("=")[0] not in FLAGS | VALUED:
                raise UserError(_option(words, place, known_keys()))
            continue
        if not word.startswith("~"):
            _check_override(words, place, known_keys)
        check_of_hydra(word)
    _check_keys_given_once(words)


def check_of_hydra(word: str, *, source: str = "") -> None:
    """Raise `UserError` for a setting of Hydra that changes nothing here, or would run the first point alone.

    `source`: what has the word, where it is not the command.
    """
    for setting, instead in _HYDRAS_OWN:
        if re.match(rf"[+~]*hydra[./]{setting}", word) and word not in _AS_IT_IS:
            raise UserError(f"{source}{word}: {instead}")


def _check_keys_given_once(words: Sequence[str]) -> None:
    """Raise `UserError` where a key has several values and is there again: they would multiply with themselves."""
    first_words: dict[str, str] = {}
    for _, word, _ in parts(words):
        if not _OVERRIDE.match(word):
            continue
        key = word.partition("=")[0].strip().lstrip("+")
        earlier = first_words.setdefault(key, word)
        if earlier is not word and any(_SWEPT.match(text.partition("=")[2]) for text in (earlier, word)):
            raise UserError(f"{earlier} {word}: {key} is there twice – write its values together: {key}=VALUE,VALUE")


def _option(words: Sequence[str], place: int, known: Collection[str]) -> str:
    """A key written as an option: `--gpus 2`, `--gpus=2`, `--dry-run`."""
    word, no_dashes = words[place], "axes and settings are written without dashes"
    name, mark, value = word.lstrip("-").partition("=")
    key, after = name.replace("-", "_"), words[place + 1 : place + 2]
    if key in known:
        if not mark:
            value = after[0] if after and not _OVERRIDE.match(after[0]) and after[0][:1] != "-" else "true"
        return f"{word}: {no_dashes}: {key}={value}"
    option, theirs = word.partition("=")[0], FLAGS | VALUED
    if key.replace("_", "") in _DRY_RUN_ALIASES:
        return f"{word}: {no_dashes}: dry_run=true"
    if key in _KEY_ALIASES:
        hint = likely_key(key, known)
    else:
        hint = closest(option, theirs) if nearest(option, theirs) else f"{called()} --help lists them"
    return f"{word}: there is no such option, and {no_dashes} – {hint}"


def _check_override(words: Sequence[str], place: int, known_keys: Callable[[], Collection[str]]) -> None:
    """Raise `UserError` unless the word at `place` is a whole KEY=VALUE, with no piece of it cut off behind it."""
    word = words[place]
    if word.startswith("until="):
        _check_question(words, place)
        return
    if named := re.fullmatch(r"([A-Za-z_][\w.]*):(.*)", word):
        value = named[2] or "".join(words[place + 1 : place + 2]) or "VALUE"
        raise UserError(f"{word}: a key and its value are joined by an equals sign: {named[1]}={value}")
    pieces = [word]
    for other in words[place + 1 :]:
        if other[:1] in {"-", "~", ""} or (_OVERRIDE.match(other) and not _is_open(" ".join(pieces))):
            break
        pieces.append(other)
    text = " ".join(pieces)
    if len(pieces) > 1 and re.search(r"[\[{(]", text):
        raise UserError(f"{word}: a space has cut it – put the whole between quotes of the shell: '{text}'")
    joined = re.sub(r"\s+", ",", re.sub(r"\s*([=,])[\s,]*", r"\1", text)).rstrip(",")
    if "=" in word and not _is_open(word) and (bare := _bare_key(pieces[1:], known_keys)):
        raise UserError(bare)
    if "=" not in joined:
        if bare := _bare_key(pieces, known_keys):
            raise UserError(bare)
        raise UserError(f"{word}: neither an option nor KEY=VALUE – write for example gpus=1,2,4")
    if len(pieces) > 1:
        raise UserError(f"{text}: KEY=VALUE,VALUE is written without spaces: {joined}")
    _check_values(word, known_keys)


def _bare_key(pieces: Sequence[str], known_keys: Callable[[], Collection[str]]) -> str:
    """What to write for the first of these words that is a key without an equals sign; empty if none is one."""
    for place, piece in enumerate(pieces):
        key = piece.replace("-", "_")
        if re.fullmatch(r"[A-Za-z_][\w.]*", key) and key in known_keys():
            value = "".join(pieces[place + 1 : place + 2]) or ("true" if key == "dry_run" else "VALUE")
            return f"{piece}: a key is followed by its value: {key}={value}"
    return ""


def _check_question(words: Sequence[str], place: int) -> None:
    """Raise `UserError` where the shell has cut a question into words."""
    pieces = [words[place]]
    for other in words[place + 1 :]:
        if _OVERRIDE.match(other) or other in FLAGS | VALUED:
            break
        pieces.append(other)
    if len(pieces) > 1:
        question = " ".join(pieces).partition("=")[2]
        raise UserError(f'{words[place]}: a space has cut it – put the question between quotes: until="{question}"')


def _is_open(text: str) -> bool:
    return any(text.count(left) > text.count(right) for left, right in ("[]", "{}", "()"))


def _check_values(word: str, known_keys: Callable[[], Collection[str]]) -> None:
    """Raise `UserError` for a dash in a key, a doubled equals sign, or a comma without a value beside it."""
    key, _, values = word.partition("=")
    if "-" in key and (ours := key.replace("-", "_")) in known_keys():
        raise UserError(f"{word}: keys are written with underscores: {ours}={values}")
    if values.startswith("="):
        raise UserError(f"{word}: one equals sign joins a key and its value: {key}={values.lstrip('=')}")
    if key.lstrip("+") in GROUPS or "/" in key:
        _check_names(word, key, values)
    parts = [part.strip() for part in values.split(",")]
    if key in ("precision", "task"):  # of groups a site may have files with any name
        for part in parts:
            if likely := likely_name(key, part):
                raise UserError(f"{word}: there is no {key} {part} – did you mean {likely}?")
    if key == "zip" and re.fullmatch(r"[\w.]+(,[\w.]+)+", values):
        raise UserError(f"{word}: axes that advance together are a list: zip=[[{values}]]")
    if key.lstrip("+") in COUNTS:
        _check_counts(word, key, values)
    if not re.search(r"['\"\\]", values):
        _check_signs(word, key, values)
    if len(parts) > 1 and not all(parts) and not re.search(r"[\[{('\"]", values):
        right = ",".join(filter(None, parts)) or "VALUE"
        raise UserError(f"{word}: a comma without a value beside it – write {key}={right}")


def _check_counts(word: str, key: str, values: str) -> None:
    """Raise `UserError` for whole numbers that something else than commas joins: `1..4`, `[16,32]`, `'1,2'`."""
    bare = values.strip("[](){}'\" ")
    if not _SEVERAL.fullmatch(bare) or (bare == values and re.fullmatch(r"[\d,\s]+", values)):
        return
    numbers = re.findall(r"\d+", bare)
    first, last = int(numbers[0]), int(numbers[-1])
    whole_range = f"; all from {first} to {last}: '{key}=range({first},{last + 1})'"
    is_span = len(numbers) == 2 and first < last and not re.search(r"[,;/x]", bare)
    raise UserError(
        f"{word}: values are separated by commas: {key}={','.join(numbers)}{whole_range if is_span else ''}"
    )


def _check_signs(word: str, key: str, values: str) -> None:
    """Raise `UserError` for a semicolon, or a bracket without its other half, in a value without quotes."""
    if ";" in values:
        right = ",".join(filter(None, map(str.strip, values.split(";")))) or "VALUE"
        raise UserError(f"{word}: values are separated by commas: {key}={right}")
    for left, right in ("[]", "{}", "()"):
        if values.count(left) != values.count(right):
            lacks = right if values.count(left) > values.count(right) else left
            raise UserError(f"{word}: a bracket has no other half – {lacks} is missing")


def _check_names(word: str, key: str, values: str) -> None:
    """Raise `UserError` where a group is given something else than names."""
    inside = values.strip("[]{} ")
    if values[:1] in {"[", "{"}:
        names = inside if re.fullmatch(r"[\w., -]+", inside) else "NAME"
        raise UserError(
            f"{word}: {key} is said by a name, several of them with -m and commas: {key}={names.replace(' ', '')}"
        )
    if wrong := next((part for part in map(str.strip, values.split(",")) if _NO_NAME.fullmatch(part)), None):
        raise UserError(
            f"{word}: {key} is said by the name of a file in conf/{key.lstrip('+')}/, and {wrong} is none – leave it "
            "out for the usual one"
        )
