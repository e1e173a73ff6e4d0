"""Labels of images that lie together in files, whatever the format: looked at, checked, and made targets of a task."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.data.prepare.captions import CLASSES, caption_of
from vit_sweep.data.prepare.source import Read, Sample, Source, Sources, Target, Tell, divided
from vit_sweep.data.request import NAMED, Corrupt, Pixels, Request
from vit_sweep.plan.choices import Task

_MOST_CLASSES = 100_000
_NUMBERS = "biuf"
"""Kinds of numpy's types."""


Found = TypeVar("Found")


class WrongFile(Exception):  # noqa: N818 - a sentence for people
    """Why a file cannot be used."""


class WrongLabels(WrongFile):
    """Its images can be read, and their labels are the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A file of images with their labels, before any image is read."""

    path: Path
    images: int
    labels: NDArray[Any]
    """(images,) or (images, k), words or numbers; or one for all images of the file, ()."""
    pixels: Pixels = Pixels.U8
    first: int = 0
    """The place of its first image in the file."""
    is_image: bool = False
    """Whether the file is the image itself."""
    names: tuple[str, ...] = ()
    """Of the classes in the order of their numbers, where the file says them."""

    @property
    def of_all(self) -> bool:
        """Whether there is one label for all."""
        return self.labels.ndim == 0


def looked_at(request: Request, paths: Sequence[Path], inspect: Callable[[Path], Found], tell: Tell) -> list[Found]:
    """What each file holds; those for which `inspect` raises `WrongFile` are refused, or left out and told."""
    inspected, paths_by_reason, advice = [], dict[str, list[str]](), set[str]()
    for path in paths:
        try:
            inspected.append(inspect(path))
        except WrongFile as error:
            paths_by_reason.setdefault(str(error), []).append(str(path))
            advice.add(
                f"give every image one that fits in {request.labels}, or name other labels with data.labels"
                if isinstance(error, WrongLabels)
                else "repair or replace them"
            )
    if paths_by_reason:
        count = len(paths) - len(inspected)
        problem = f"{count} of {plural(len(paths), 'file')} cannot be used: {by_reason(paths_by_reason)}"
        if request.corrupt is Corrupt.REFUSE or not inspected:
            skip = ", or leave them out with data.corrupt=skip" if inspected else ""
            raise UserError(
                f"data={request.name}: {problem}; {', or '.join(sorted(advice))} and give the command again{skip}"
            )
        tell(f"left out: {problem}")
    return inspected


def by_reason(names_by_reason: dict[str, list[str]]) -> str:
    """What cannot be used, and why: `a, b (it is cut short); c (it is empty)`."""
    return some([f"{some(names, NAMED)} ({why})" for why, names in names_by_reason.items()], NAMED, separator="; ")


def sources_of(
    request: Request,
    files: dict[str, list[Labelled]],
    read: Read,
    tell: Tell,
    *,
    group: Callable[[Sample], str] | None,
) -> Sources:
    """Both splits with their targets; raises `UserError`.

    Without files to test with some images are put apart: whole groups (slices of a volume, pages of an article), whose
    images are alike; None: image by image.
    """
    path = Path(request.path)
    all_files = [file for some_files in files.values() for file in some_files]
    task = request.targets or _task_of(all_files)
    classes = _classes_of(request, task, all_files)
    folder = path if path.is_dir() else path.parent
    splits = {
        split: Source(folder=folder, classes=classes, samples=tuple(_samples(task, classes, files[split])))
        for split in files
    }
    if not files["test"]:
        several = group is not None and len({group(sample) for sample in splits["train"].samples}) > 1
        splits = divided(splits["train"], request.split, request.split_seed, group=group if several else None)
        unit = "images of whole files" if several else "images"
        tell(
            f"{path}: {len(splits['test'].samples):,} of {sum(file.images for file in all_files):,} {unit} are put "
            "apart"
        )
    _check_splits(request, task, splits)
    eight_bits = all(file.pixels is Pixels.U8 for file in all_files)
    return Sources(splits=splits, read=read, pixels=Pixels.U8 if eight_bits else Pixels.F32, targets=task)


def require_labels(labels: NDArray[Any], images: int, name: str, described: str) -> None:
    """Raise `WrongLabels` for what are no labels, or not as many as there are images; `described` names these."""
    if labels.dtype.kind not in f"{_NUMBERS}U" or labels.ndim > 2 or (labels.ndim == 2 and labels.dtype.kind == "U"):
        raise WrongLabels(f"{name} is {labels.dtype} {list(labels.shape)}; labels are words or numbers, [n] or [n, k]")
    if labels.ndim and len(labels) != images:
        raise WrongLabels(f"{name} has {plural(len(labels), 'label')} for {plural(images, 'image')} of {described}")


def array_of(values: Sequence[Any], name: str) -> NDArray[Any]:
    """Labels that were read one by one: (n,) or (n, k); raises `WrongLabels` where they are not of one kind."""
    kinds = {"word" if isinstance(value, str) else "list" if np.ndim(value) else "number" for value in values}
    widths = {np.shape(value) for value in values}
    if len(kinds) > 1 or len(widths) > 1:
        different = kinds if len(kinds) > 1 else {f"{list(width)}" for width in widths}
        raise WrongLabels(f"{name} is unlike between its images: {some(sorted(different), NAMED)}")
    return np.asarray(values)


def _task_of(files: Iterable[Labelled]) -> Task:
    """By the type of the labels: words and whole numbers are classes, several whole ones labels, others numbers."""
    labels = next(iter(files)).labels
    if labels.dtype.kind == "f":
        return Task.REGRESSION
    return Task.MULTILABEL if labels.ndim == 2 else Task.CLASSIFICATION


def _classes_of(request: Request, task: Task, files: Sequence[Labelled]) -> tuple[str, ...]:
    """Names of classes, labels or numbers; raises `UserError` where files disagree, or a value is none of these."""
    widths = {file.labels.shape[1] if file.labels.ndim == 2 else 1 for file in files}
    kinds = {file.labels.dtype.kind == "U" for file in files}
    names = _names_of(request, files)
    if len(widths) > 1 or len(kinds) > 1:
        raise UserError(
            f"data={request.name}: {request.labels} is unlike between files: "
            f"{some(sorted({f'{f.labels.dtype} {list(f.labels.shape[1:])}' for f in files}), NAMED)}; use one kind"
        )
    for file in files:
        _check_labels(request, task, file, len(names) or request.classes)
    if task is Task.CONTRASTIVE:
        return CLASSES
    if task is not Task.CLASSIFICATION:
        width = widths.pop()
        return names if len(names) == width else tuple(f"{request.labels}[{k}]" for k in range(width))
    values = sorted({value for file in files for value in np.unique(file.labels).tolist()})
    if kinds.pop():
        return tuple(values)
    if names:
        return names
    count = request.classes or int(values[-1]) + 1
    if request.classes is None and count > len(values):
        raise UserError(
            f"data={request.name}: {request.labels} goes from {values[0]:g} to {values[-1]:g}, but has {len(values)} "
            f"values only; number classes from 0 without gaps, or give data.classes={count} if some have no image here"
        )
    return tuple(map(str, range(count)))


def _names_of(request: Request, files: Sequence[Labelled]) -> tuple[str, ...]:
    """Names of the classes, if the files have any; raises `UserError` where they have others."""
    names = {file.names for file in files}
    if len(names) > 1:
        first_names, second_names = sorted(names)[:2]
        raise UserError(
            f"data={request.name}: the files name their classes differently: "
            f"{some(first_names, NAMED) or 'not at all'}, and {some(second_names, NAMED)}; use files of one kind"
        )
    return names.pop() if names else ()


def _check_labels(request: Request, task: Task, file: Labelled, classes: int | None) -> None:
    """Every label within what its task allows."""
    labels, rule = file.labels, ""
    if labels.dtype.kind == "U":
        bad = np.zeros(labels.shape, dtype=bool)
        rule = "" if task in (Task.CLASSIFICATION, Task.CONTRASTIVE) else "words are classes, or captions"
        bad[...] = bool(rule)
        if task is Task.CONTRASTIVE:
            bad, rule = np.char.str_len(np.char.strip(labels)) == 0, "a caption is not empty"
    elif task is Task.CONTRASTIVE:
        bad, rule = np.ones(labels.shape, dtype=bool), "captions are text"
    elif task is Task.CLASSIFICATION:
        largest = (classes or _MOST_CLASSES) - 1
        bad = ~((labels >= 0) & (labels <= largest) & (labels == np.floor(labels)))
        rule = f"classes are whole numbers from 0 to {largest}"
        if labels.ndim == 2:
            bad, rule = np.ones(labels.shape, dtype=bool), "an image has one class"
    elif task is Task.MULTILABEL:
        bad, rule = ~((labels == 0) | (labels == 1)), "labels are 0 or 1"
    else:
        bad, rule = ~np.isfinite(labels.astype(float)), "numbers are finite"
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        element = f"{request.labels}{list(index) if index else ''}"
        raise UserError(
            f"data={request.name}: {file.path}: {element} is {labels[index]}, and {rule} (data.targets="
            f"{task.value}); {plural(int(bad.sum()), 'label')} of {labels.size:,} are so: fix the file, or give "
            "another data.labels, data.targets or data.classes"
        )


def _samples(task: Task, classes: tuple[str, ...], files: Iterable[Labelled]) -> Iterable[Sample]:
    places = {name: place for place, name in enumerate(classes)}
    for file in files:
        by_image = np.broadcast_to(file.labels, (file.images,)) if file.of_all else file.labels
        for index in range(file.images):
            index_in_file = None if file.is_image else file.first + index
            yield Sample(str(file.path), _target(task, by_image[index], places), index_in_file)


def _target(task: Task, label: Any, places: dict[str, int]) -> Target:
    if task is Task.CONTRASTIVE:
        return caption_of(str(label))
    if task is Task.CLASSIFICATION:
        return places[str(label)] if isinstance(label, str) else int(label)
    return tuple(float(value) for value in np.atleast_1d(label))


def _check_splits(request: Request, task: Task, splits: dict[str, Source]) -> None:
    setting = f"data={request.name}: {request.path}"
    if not splits["test"].samples:
        raise UserError(
            f"{setting}: too few to put some apart for tests; put files into train/ and val/, or add more of each class"
        )
    if task is not Task.CLASSIFICATION:
        return
    if len(splits["train"].classes) == 1:
        raise UserError(
            f"{setting}: {request.labels} is {splits['train'].classes[0]} for all images, and one class is nothing "
            "to learn"
        )
    names = splits["train"].classes
    trained, tested = ({sample.target for sample in splits[split].samples} for split in ("train", "test"))
    unknown = [names[int(label)] for label in sorted(tested - trained) if isinstance(label, int)]
    if unknown:
        raise UserError(
            f"{setting}: {some(unknown, NAMED)} of {request.labels} only among the test images; train on them"
        )
