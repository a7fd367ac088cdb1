"""Which images a folder holds: their classes and parts, read from the names of its folders.

    DIR/train/<class>/*.jpg with DIR/val or DIR/test     ImageNet's layout, names of parts in any case
    DIR/<class>/*.jpg                                    torchvision's ImageFolder, one part

A class is a folder, as many levels deep as it likes; its number is its place in the sorted names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import PonasError, printable
from ponas_deploy.files.class_names import difference, listed, usable
from ponas_deploy.files.images import extensions

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"
_FOLDERS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "val", "valid", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""What folders of parts are called, in any case."""
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Part:
    """The images of one part: paths below `root` in order, class by class, and the class of each."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, the same in every locale; empty where no file could hold it."""
        return usable([os.fsencode(name).decode("utf-8", "backslashreplace") for name in self.classes])


def read_parts(folder: Path) -> dict[str, Part]:
    """The parts of a folder: some of "train", "validation" and "test", or "all" where it has none.

    Raises PonasError in words for a layout that is none, an empty class, classes that differ.
    """
    found = _part_folders(folder)
    if not found:
        _refuse_parts(folder)
        return {ALL: _part(folder)}
    if TEST in found and len(found) > 1 and not _class_folders(found[TEST]):
        del found[TEST]  # ImageNet's test images have no labels
    parts = {name: _part(root) for name, root in found.items()}
    first, *others = parts.values()
    for other in others:
        _same_classes(first, other)
    return parts


def found_text(parts: Mapping[str, Part]) -> str:
    """What was found, and the files and folders that were left out, in one line."""
    classes = next(iter(parts.values())).classes
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    names = ", ".join(map(printable, classes[:_NAMED])) + more
    images = ", ".join(
        f"{len(part.files)} {'' if name == ALL else f'{name} '}images" for name, part in parts.items()
    )
    others = Counter[str]()
    for part in parts.values():
        others += _others(part)
    left = [f"{count} file{'s' * (count > 1)} ({kind})" for kind, count in sorted(others.items())]
    if ALL not in parts:
        folder, used = next(iter(parts.values())).root.parent, {part.root for part in parts.values()}
        unused = sorted(name for name in _class_folders(folder) if folder / name not in used)
        left += [f"folder{'s' * (len(unused) > 1)} {', '.join(unused[:_NAMED])}"] if unused else []
    out = f"; left out: {', '.join(map(printable, left))}" if left else ""
    return f"{len(classes)} classes ({names}); {images}{out}"


def _others(part: Part) -> Counter[str]:
    """How many files of a part are not read: by the end of their names, and images of no class."""
    loose = sum(_is_image(path.name) for path in _entries(part.root))
    counts = Counter({"images outside the class folders": loose} if loose else {})
    for name in part.classes:
        for _, _, files in os.walk(part.root / name, followlinks=True):
            left = [file for file in files if not _is_image(file) and not file.startswith(".")]
            counts.update(os.path.splitext(file)[1].lower() or "no extension" for file in left)
    return counts


def _part_folders(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for child in _class_folders(folder):
        part = _FOLDERS.get(child.lower())
        if part is None:
            continue
        if part in found:
            raise PonasError(
                f"{folder} holds '{found[part].name}' and '{child}', which both mean {part}:"
                f" rename or merge them."
            )
        found[part] = folder / child
    return {part: found[part] for part in (TRAIN, VALIDATION, TEST) if part in found}


def _refuse_parts(folder: Path) -> None:
    """PonasError where what would be classes all hold the same folders and no images: they are parts."""
    names = _class_folders(folder)
    inside = [tuple(_class_folders(folder / name)) for name in names]
    images = any(_is_image(path.name) for name in names for path in _entries(folder / name))
    if len(names) > 1 and len(set(inside)) == 1 and len(inside[0]) > 1 and not images:
        raise PonasError(
            f"the folders {', '.join(names[:_NAMED])} in {folder} all hold the same folders"
            f" ({', '.join(inside[0][:_NAMED])}): if they are parts, name them train, val and test;"
            f" if they are classes, put the images right into them."
        )


def _part(root: Path) -> Part:
    classes = _class_folders(root)
    if len(classes) < 2:
        raise PonasError(_no_classes(root, classes))
    members = [_images(root, name) for name in classes]
    empty = [name for name, files in zip(classes, members, strict=True) if not files]
    if empty:
        raise PonasError(
            f"{listed(empty)} in {root} without an image: put images there"
            f" ({', '.join(extensions())}), or remove the folder."
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
    return file.lower().endswith(extensions()) and not file.startswith(".")


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
    if text := difference(one.classes, other.classes, str(one.root), str(other.root)):
        raise PonasError(f"the classes differ, {text}: every part needs the same class folders.")
