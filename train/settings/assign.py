"""Settings by name: `meta.epochs=30` as it is typed, and back. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from types import NoneType
from typing import Any, get_args, get_type_hints

from ponas_deploy.errors import PonasError, UnknownNameError
from train.settings.recipe import RECIPES, TrainSettings, recipes_for, unused

_SWITCH = {"yes": True, "true": True, "no": False, "false": False}


def assigned(settings: TrainSettings, pairs: Sequence[str]) -> TrainSettings:
    """Settings with `name=value` pairs put in, the names dotted as in `known`.

    UnknownNameError lists the names there are; PonasError for a value that is not what the name stands
    for, or with which nothing can be trained.
    """
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise PonasError(f"'{pair}' sets nothing: write NAME=VALUE, such as meta.epochs=30.")
        if name not in known():
            raise UnknownNameError("setting", name, known())
        settings = _set(settings, name, value)
    _refuse_unused(settings, pairs)
    return settings


def _set(settings: TrainSettings, name: str, value: str) -> TrainSettings:
    """One setting put in; what is wrong with it is said by its dotted name."""
    *_, field = path = name.split(".")
    try:
        changed: TrainSettings = _put(settings, path, name, value)
    except UnknownNameError:
        raise
    except PonasError as error:
        text = str(error)
        if text.startswith(f"{name} is "):
            raise
        rest = text.removeprefix(f"{field} is ")
        raise PonasError(f"{name} is {rest}" if rest != text else f"{name}: {text}") from error
    return changed


def _refuse_unused(settings: TrainSettings, pairs: Sequence[str]) -> None:
    """PonasError for a setting of the recipe that the space is not trained by."""
    dotted_pairs = [pair for pair in pairs if "." in pair.partition("=")[0]]
    left = unused(settings) if dotted_pairs else ()
    for pair in dotted_pairs:
        name = pair.partition("=")[0]
        part = name.partition(".")[0]
        if part in left:
            used = [one for one in known() if "." in one and one.partition(".")[0] not in left]
            others = [one for one in recipes_for(settings.space) if part in RECIPES[one]]
            remedy = "".join(f" Set recipe={one} as well, which {name} is a setting of." for one in others)
            raise PonasError(
                f"{name} changes nothing in space '{settings.space}', which is trained by another recipe:"
                f" its settings are {', '.join(used)}.{remedy}"
            )


def known() -> list[str]:
    """The dotted names of all settings."""
    return [name for name, _ in dotted(asdict(TrainSettings()))]


def _put(holder: Any, path: Sequence[str], name: str, text: str) -> Any:
    """A dataclass with the field at `path` replaced."""
    field, *below = path
    if below:
        return replace(holder, **{field: _put(getattr(holder, field), below, name, text)})
    return replace(holder, **{field: _value(name, text, get_type_hints(type(holder))[field])})


def _value(name: str, text: str, kind: Any) -> Any:
    """Text as a value of a type: int, float, bool, str, a Literal, a tuple of floats, or `| None` of one."""
    choices = get_args(kind)
    if NoneType in choices:
        return None if text == "none" else _value(name, text, choices[0])
    if kind is bool:
        if text.lower() not in _SWITCH:
            raise PonasError(f"{name} is '{text}': write yes or no.")
        return _SWITCH[text.lower()]
    if kind == tuple[float, ...]:
        return tuple(_number(name, part, float) for part in text.split(",") if part)
    return _number(name, text, kind) if kind in (int, float) else text


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        raise PonasError(f"{name} is '{text}': write a {'whole ' * (kind is int)}number.")
    return value


def written(value: Any) -> str:
    """A value as `assigned` reads it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def pairs_of(values: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """The pairs that make settings with `values` (by dotted name) out of the `usual`, else the paper's."""
    defaults = dict(dotted(asdict(TrainSettings()) if usual is None else usual))
    return tuple(
        f"{name}={written(values[name])}"
        for name, default in defaults.items()
        if name in values and written(values[name]) != written(default)
    )


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as pairs of a dotted name and a plain value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
