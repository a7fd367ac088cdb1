"""A data set as text: `digits`, `fractal:classes=20,images=500`, `cifar10:data_dir=/data`, `/data/photos`.

One text carries the options too, so that a weights file or a table can name exactly the images it was
made on, and the same text loads them again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ponas_deploy.errors import MissingExtraError, PonasError, UnknownNameError
from train.data.splits import Splits

Source = Callable[..., Splits]
"""`source(resolution, seed, workers, **options)`."""

# What a call may bring but a name does not keep: it changes no image.
PASSING = ("cache_dir", "download", "on_progress")
DIVIDING = ("validation", "test")
"""Options that say which images are trained on and which are held out."""

_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "yes or no", Path: "a folder"}
_SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@contextmanager
def needing_extra() -> Iterator[None]:
    """While modules of images are loaded: MissingExtraError names a package that is not here.

    Having torch is not having the extra `train`: the extra `stock` brings it too.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise MissingExtraError(f"{package}, which these images need,", "train") from error


class Lazy:
    """A source whose module, and what that imports, is loaded when it is first used."""

    def __init__(self, module: str, function: str = "load") -> None:
        self._module, self._function = module, function

    def found(self) -> Source:
        """The function itself."""
        with needing_extra():
            source: Source = getattr(import_module(self._module), self._function)
        return source

    def __call__(self, *arguments: Any, **options: Any) -> Splits:
        """Load the module and call its function."""
        return self.found()(*arguments, **options)


def divided(text: str, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A data set's name, one of `names` or a path, and the options written behind its colon."""
    head, colon, tail = text.partition(":")
    if head not in names:
        head, colon, tail = text.rpartition(":")
    if not colon or (head not in names and not re.match(r"\w+=", tail)):
        return text, {}
    options = {}
    for pair in re.split(r",(?=\w+=)", tail):
        key, equals, value = pair.partition("=")
        if not equals:
            raise PonasError(f"'{pair}' in '{text}' is no option: write NAME:key=value,key=value.")
        options[key] = value
    return head, options


def accepted(source: Source) -> dict[str, Any]:
    """The options a source takes, and the type of each."""
    hints = get_type_hints(_function(source))
    return {name: hints.get(name, str) for name in usual(source)}


def usual(source: Source) -> dict[str, Any]:
    """The options a source takes, and the value of each where nobody says."""
    found = inspect.signature(_function(source)).parameters.values()
    return {p.name: p.default for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _function(source: Source) -> Source:
    function = source.found() if isinstance(source, Lazy) else source
    return function.func if isinstance(function, partial) else function


def checked(name: str, source: Source, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a source with text turned into what each option is.

    UnknownNameError lists the options there are; `on_progress` is dropped where a source reports nothing.
    """
    known, ready = accepted(source), {}
    for key, value in options.items():
        if key in known:
            ready[key] = _converted(name, key, value, known[key]) if isinstance(value, str) else value
        elif key != "on_progress":
            options_of = (known_key for known_key in known if known_key != "on_progress")
            raise UnknownNameError(f"option of data set '{name}'", key, options_of)
    return ready


def written(name: str, options: Mapping[str, Any]) -> str:
    """The text that names a data set with its options; `divided` reads it back."""
    kept = [f"{key}={value}" for key, value in sorted(options.items()) if key not in PASSING]
    return f"{name}:{','.join(kept)}" if kept else name


def _converted(name: str, key: str, text: str, hint: Any) -> Any:
    kind = _plain(hint)
    try:
        if kind is bool:
            return _SWITCH[text.lower()]
        if kind is Path:
            return Path(text).expanduser().absolute()
        return kind(text)
    except (KeyError, TypeError, ValueError) as error:
        expected = _KINDS.get(kind, "another value")
        raise PonasError(f"{key} of data set '{name}' is '{text}', expected {expected}.") from error


def _plain(hint: Any) -> type:
    """`int` for `int | None`."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    return hint if isinstance(hint, type) else str
