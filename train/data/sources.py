"""Images to train on, by name or by folder: a source a file, each returning `Splits`.

    load("digits")    load("fractal:classes=20")    load("cifar10", data_dir=Path("/data"))
    load("/data/photos", resolution=96, validation=20)

A new source is one more file with a `load(resolution, seed, workers)` and one more line in SOURCES.
What it takes behind a `*` are its options, and stand behind a colon where a data set is typed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.bounds import Resolution, Seed, Threads, fault
from train.data.options import (
    DIVIDING,
    Lazy,
    Source,
    accepted,
    checked,
    divided,
    needing_extra,
    usual,
    written,
)
from train.data.splits import Splits

SOURCES: dict[str, Source] = {
    "digits": Lazy("train.data.digits"),
    "fractal": Lazy("train.data.fractal"),
    "cifar10": Lazy("train.data.cifar", "cifar10"),
    "cifar100": Lazy("train.data.cifar", "cifar100"),
}


def load(
    name: str, *, resolution: int | None = None, seed: int = 0, workers: int = 0, **options: Any
) -> Splits:
    """The images called `name` at `resolution` pixels (None: their own), split by `seed`.

    `name` is one of SOURCES or a folder of images, with options behind a colon
    (`fractal:classes=20`); `options` are the same as values, and win. The result's name has them all, so
    that it loads the same images again. `on_progress` reaches every source that reports, and a `style` that
    is given as a value those that prepare images in several.
    UnknownNameError lists the data sets, or the options, that exist.
    """
    _refuse_out_of_bounds(resolution, seed, workers)
    plain, typed = divided(name, SOURCES)
    source = _source(plain, name)
    if "style" not in accepted(source):
        options.pop("style", None)
    ready = checked(plain, source, {**typed, **options})
    splits = source(resolution, seed, workers, **ready)
    return replace(splits, name=written(splits.name, ready))


def same_source(name: str, other: str) -> bool:
    """Whether two texts name the same data set or folder, whatever their options."""
    return _place(name) == _place(other)


def as_divided(name: str, before: str) -> str:
    """`name` with the options that divided the images `before`, where both are of the same source.

    PonasError where `name` asks for others: images that were trained on would then be held out.
    """
    if not same_source(name, before):
        return name
    (plain, typed), (_, kept) = divided(name, SOURCES), divided(before, SOURCES)
    source = _source(plain, name)
    dividing = set(DIVIDING) & set(accepted(source))
    asked, were = (
        {**usual(source), **checked(plain, source, {key: some[key] for key in dividing & set(some)})}
        for some in (typed, kept)
    )
    for key in sorted(dividing & set(typed)):
        if asked[key] != were[key]:
            raise PonasError(
                f"{key}={typed[key]} was asked for, but the weights' training divided {plain} with"
                f" {key}={were[key]}: images that they were trained on would be held out; leave {key}= out."
            )
    taken = ",".join(f"{key}={kept[key]}" for key in sorted(dividing & set(kept) - set(typed)))
    return f"{name}{',' if typed else ':'}{taken}" if taken else name


def _place(name: str) -> str:
    plain, _ = divided(name, SOURCES)
    return plain if plain in SOURCES else str(Path(plain).expanduser().resolve())


def _refuse_out_of_bounds(resolution: int | None, seed: int, workers: int) -> None:
    """PonasError for a number that no data set can be read with."""
    given = (
        ("resolution", Resolution, resolution),
        ("seed", Seed, seed),
        ("workers", Threads, workers or None),
    )
    for what, kind, value in given:
        if value is not None and (wrong := fault(kind, value)):
            raise PonasError(f"{what} {wrong}")


def _source(name: str, text: str) -> Source:
    if name in SOURCES:
        return SOURCES[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        with needing_extra():
            from train.data import folder as images

        return partial(images.load, folder.resolve())
    if os.sep in name or name.startswith((".", "~")):
        raise PonasError(
            f"there is no folder {name}: name a folder of images, or one of {', '.join(SOURCES)}."
        )
    raise UnknownNameError("data set", text, [*SOURCES, "a folder of images"])
