"""Which images a folder holds: their classes and parts, read from the names of its folders.

    DIR/train/<class>/*.jpg with DIR/val or DIR/test     ImageNet's layout
    DIR/<class>/*.jpg                                    torchvision's ImageFolder, one part

A class is a folder, as many levels deep as it likes; its number is its place in the sorted names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from ponas_deploy.errors import PonasError

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"
_FOLDERS = ((TRAIN, TRAIN), (VALIDATION, "validation"), (VALIDATION, "val"), (TEST, TEST))
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Part:
    """The images of one part: paths below `root` in order, class by class, and the class of each."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]


def read_parts(folder: Path) -> dict[str, Part]:
    """The parts of a folder: some of "train", "validation" and "test", or "all" where it has none.

    Raises PonasError in words for a layout that is none, an empty class, classes that differ.
    """
    found = {name: folder / child for name, child in _FOLDERS if (folder / child).is_dir()}
    if not found:
        return {ALL: _part(folder)}
    if TEST in found and len(found) > 1 and not _class_folders(found[TEST]):
        del found[TEST]  # ImageNet's test images have no labels
    parts = {name: _part(root) for name, root in found.items()}
    first, *others = parts.values()
    for other in others:
        _same_classes(first, other)
    return parts


def _part(root: Path) -> Part:
    classes = _class_folders(root)
    if len(classes) < 2:
        raise PonasError(_no_classes(root, classes))
    members = [_images(root, name) for name in classes]
    empty = [name for name, files in zip(classes, members, strict=True) if not files]
    if empty:
        raise PonasError(
            f"{listed('class', empty)} in {root} without an image: put images there"
            f" ({', '.join(IMG_EXTENSIONS)}), or remove the folder."
        )
    files = tuple(file for found in members for file in found)
    labels = tuple(label for label, found in enumerate(members) for _ in found)
    return Part(root, tuple(classes), files, labels)


def _class_folders(root: Path) -> list[str]:
    return sorted(child.name for child in _entries(root) if child.is_dir() and not child.name.startswith("."))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise PonasError(f"{folder} cannot be read: {error.strerror}.") from error


def _images(root: Path, name: str) -> list[str]:
    """Paths of a class's images below `root`, sorted; hidden files are none."""
    found = []
    for folder, _, files in os.walk(root / name, followlinks=True):
        below = os.path.relpath(folder, root)
        found += [os.path.join(below, file) for file in files if _is_image(file)]
    return sorted(found)


def _is_image(file: str) -> bool:
    return file.lower().endswith(IMG_EXTENSIONS) and not file.startswith(".")


def _no_classes(root: Path, classes: Sequence[str]) -> str:
    layout = f"{root}/<class>/<image>, or {root}/train/<class>/<image> with {root}/val/<class>/<image>"
    if classes:
        return (
            f"{root} holds the images of one class only, '{classes[0]}': two or more are needed, as {layout}."
        )
    images = sum(_is_image(path.name) for path in _entries(root))
    found = f"{images} images and no class folders" if images else "neither images nor class folders"
    return f"{root} holds {found}: put the images of each class into a folder of its own, as {layout}."


def _same_classes(one: Part, other: Part) -> None:
    only = {
        part.root: sorted(set(part.classes) - set(rest.classes))
        for part, rest in ((one, other), (other, one))
    }
    texts = [f"only {root} has {listed('class', names)}" for root, names in only.items() if names]
    if texts:
        raise PonasError(
            f"the classes differ, {' and '.join(texts)}: every part needs the same class folders."
        )


def listed(noun: str, names: Sequence[str]) -> str:
    """Some names for people: `class 'a'`, `5 classes 'a', 'b', 'c' and 2 more`."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{noun} {shown}" if len(names) == 1 else f"{len(names)} {noun}es {shown}{more}"
