"""Documents: typed values in files. One decoder, one encoder, one history of versions.

A document is a JSON object whose first key is its format with a version, `ponas.latency-table/2`. `Format`
says what type its values have and how older versions become the newest; a newer one is an error that says so.
Decoding is msgspec's, strict, into frozen dataclasses: an error names the place in the file.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Generic, TypeVar

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.kinds import other_document
from ponas_deploy.files.opening import MOST_BYTES, read_text
from ponas_deploy.files.records import in_words, to_json, write_bytes

Value = TypeVar("Value")
Upgrade = Callable[[Dict[str, Any]], Dict[str, Any]]
"""From the JSON object of one version to that of the next; it may leave what it does not understand."""

MOST_NESTED = 64
"""Lists and objects inside one another; the deepest document of ours has eight."""


_TOO_DEEP = f"is not JSON that can be read (nested more than {MOST_NESTED} deep)."


@dataclass(frozen=True)
class Format(Generic[Value]):
    """A kind of document: `name` without version, the newest `version`, and the type of its values.

    `upgrades[0]` makes version 2 of version 1, and so on: one function a version. Versions without one need
    none: what they lack has a default.
    """

    name: str
    version: int
    type: type[Value]
    upgrades: tuple[Upgrade, ...] = ()
    most_bytes: int = MOST_BYTES

    @property
    def tag(self) -> str:
        """What stands in a file: `ponas.latency-table/2`."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class RawDocument:
    """A document whose format is known and upgraded, and whose values are not checked yet.

    Where it is not `strict` there may be NaN in it.
    """

    path: Path
    format: Format[Any]
    data: dict[str, Any]
    strict: bool = True

    def part(self, key: str, kind: type[Value]) -> Value:
        """The value at a key as `kind`; FileFormatError names what does not fit, a missing key too."""
        if key not in self.data:
            raise FileFormatError(self.path, key, "is missing.")
        if not self.strict:
            refuse_infinite(self.data[key], self.path, key)
        return converted(self.data[key], kind, self.path, key)

    def value(self, kind: type[Value]) -> Value:
        """The whole document as `kind`."""
        if not self.strict:
            refuse_infinite(self.data, self.path)
        return converted(self.data, kind, self.path)

    def error(self, key: str, reason: str) -> FileFormatError:
        """An error at a key."""
        return FileFormatError(self.path, key, reason)

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None


def read_document(path: Path, kind: Format[Value]) -> Value:
    """The value of a document; FileFormatError names the file, the place in it, and what is wrong there."""
    return read_raw(path, kind).value(kind.type)


def read_raw(path: Path, *kinds: Format[Any]) -> RawDocument:
    """A document of one of these formats, upgraded to its newest version, with its values unchecked."""
    most_bytes = max(kind.most_bytes for kind in kinds)
    data, strict = parse_loosely(read_text(path, most_bytes), path)
    if not isinstance(data, dict):
        raise FileFormatError(path, "", f"is {in_words(data)}, expected an object.")
    kind, version = _format_of(data, path, kinds)
    for upgrade in kind.upgrades[version - 1 :]:
        data = upgrade(data)
    return RawDocument(path, kind, data, strict)


def write_document(path: Path, kind: Format[Value], value: Value, *, overwrite: bool = False) -> None:
    """Write a value as the newest version of its format, whole or not at all (`records.write_bytes`)."""
    text = to_json({"format": kind.tag, **encoded(value)})
    write_bytes(path, f"{text}\n".encode("utf-8", "replace"), overwrite=overwrite)


def encoded(value: Any) -> Any:
    """A typed value as what JSON knows: objects, lists, text, numbers; a key that is UNSET is left out."""
    import msgspec

    return msgspec.to_builtins(value, enc_hook=_as_float)


def _as_float(value: Any) -> float:
    """A kind of float that msgspec does not know (NumPy's) as a float."""
    if isinstance(value, float):
        return float(value)
    raise NotImplementedError(f"a value of type {type(value).__name__} is not for JSON")


def compact(value: Any) -> Any:
    """The same without the fields of dataclasses that hold their default: what a reader puts there itself."""
    if not is_dataclass(value):
        return encoded(value)
    kept = ((field, getattr(value, field.name)) for field in fields(value))
    return {field.name: compact(inner) for field, inner in kept if inner != _default(field)}


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def converted(value: Any, kind: type[Value], path: Path, where: str = "") -> Value:
    """What stood in a file at `where`, as `kind`; FileFormatError names the place of what does not fit."""
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        place, reason = _in_our_words(str(error), value)
        raise FileFormatError(path, _joined(where, place), reason) from error
    except RecursionError as error:
        raise FileFormatError(path, where, _TOO_DEEP) from error
    except PonasError as error:  # from a `__post_init__` of ours, which does not know the file
        raise FileFormatError(path, where, str(error)) from error


def refuse_unknown(values: Any, kind: type[Any], path: Path, where: str) -> None:
    """FileFormatError names the first key in a list of objects that the dataclass `kind` does not have."""
    known = {field.name for field in fields(kind)}
    for index, one in enumerate(values if isinstance(values, list) else ()):
        if isinstance(one, dict) and (unknown := one.keys() - known):
            raise FileFormatError(path, f"{where}[{index}].{min(unknown)}", "is nothing that is known here.")


def parse(text: str, path: Path, where: str = "") -> Any:
    """JSON as it stands there: no NaN, no number beyond a float, no half of a character, no deep nesting."""
    value, strict = parse_loosely(text, path, where)
    if not strict:
        refuse_infinite(value, path, where)
    return value


def parse_loosely(text: str, path: Path, where: str = "") -> tuple[Any, bool]:
    """The same with NaN and infinity left in it, for who names all faults, and whether there are none."""
    try:
        import msgspec
    except ImportError:  # boards have none
        value, strict = _by_the_standard_library(text, path, where), False
    else:
        try:
            value, strict = msgspec.json.decode(text), True
        except (msgspec.DecodeError, RecursionError, ValueError):
            value, strict = _by_the_standard_library(text, path, where), False
    if _is_deeper(value, MOST_NESTED):
        raise FileFormatError(path, where, _TOO_DEEP)
    return value, strict


def refuse_infinite(value: Any, path: Path, where: str = "") -> None:
    """FileFormatError names the first number of a JSON value that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise FileFormatError(path, where, f"is {value}, expected a finite number.")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        refuse_infinite(inner, path, _joined(where, key if isinstance(key, str) else f"[{key}]"))


def _format_of(
    data: Mapping[str, Any], path: Path, kinds: tuple[Format[Any], ...]
) -> tuple[Format[Any], int]:
    if "format" not in data:
        if other := other_document(data):
            expected = " or ".join(f"'{kind.tag}'" for kind in kinds)
            raise FileFormatError(path, "", other.refusal(path, expected))
        raise FileFormatError(path, "format", "is missing.")
    tag = data["format"]
    if not isinstance(tag, str):
        raise FileFormatError(path, "format", f"is {in_words(tag)}, expected text.")
    name, _, version = tag.partition("/")
    kind = next((kind for kind in kinds if kind.name == name), None)
    if kind is None or re.fullmatch("[1-9][0-9]{0,8}", version) is None:
        expected = " or ".join(f"'{kind.tag}'" for kind in kinds)
        raise FileFormatError(path, "format", f"is {in_words(tag)}, expected {expected}.")
    if int(version) > kind.version:
        newer = f"is version {version}, this program reads up to {kind.version}: upgrade ponas-deploy."
        raise FileFormatError(path, "format", newer)
    return kind, int(version)


def _by_the_standard_library(text: str, path: Path, where: str) -> Any:
    """What msgspec refuses, by the parser that knows line and column of a fault, and lets NaN pass."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = ", ".join(filter(None, (where, f"line {error.lineno} column {error.colno}")))
        raise FileFormatError(path, place, f"is not valid JSON ({error.msg}).") from error
    except RecursionError as error:
        raise FileFormatError(path, where, _TOO_DEEP) from error
    except UnicodeEncodeError as error:
        half = f"is not JSON that can be read (half of a character, {error.object[error.start]!r})."
        raise FileFormatError(path, where, half) from error
    except ValueError as error:
        long = "is not JSON that can be read (a number of thousands of digits)."
        raise FileFormatError(path, where, long) from error
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


# From msgspec's messages to ours. -------------------------------------------------------------------------

_AT = re.compile(r" - at `(?:key` in `)?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>[0-9]+|\.\.\.)\]")
_TYPES = {
    "int": "a whole number",
    "float": "a finite number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_COMPARED = {
    ">=": (operator.lt, "{} or more"),
    "<=": (operator.gt, "{} or less"),
    ">": (operator.le, "more than {}"),
    "<": (operator.ge, "less than {}"),
}


def _in_our_words(message: str, value: Any) -> tuple[str, str]:
    """The place and the reason of a message of msgspec's about `value`."""
    found = _AT.search(message)
    text = message[: found.start()] if found else message
    steps = list(_STEP.finditer(found["path"])) if found else []
    if missing := re.fullmatch(r"Object missing required field `(.+)`", text):
        without = _found_at(value, steps, lambda one: isinstance(one, dict) and missing[1] not in one)
        return _joined(without[0], missing[1]), "is missing."
    if typed := re.fullmatch(r"Expected `(.+?)`, got `(\w+)`", text):
        where, there = _found_at(value, steps, lambda one: _kind_of(one) == typed[2])
        kinds = " or ".join(_TYPES.get(kind, kind) for kind in typed[1].split(" | "))
        return where, f"is {in_words(there)}, expected {kinds}."
    if compared := re.fullmatch(r"Expected `.+?` (>=|<=|>|<) (\S+)", text):
        fails, words = _COMPARED[compared[1]]
        where, there = _found_at(value, steps, lambda one: _is_number(one) and fails(one, float(compared[2])))
        return where, f"is {in_words(there)}, expected {words.format(re.sub('[.]0$', '', compared[2]))}."
    if "out of range" in text:
        where, there = _found_at(value, steps, lambda one: isinstance(one, int) and abs(one) >= 2**63)
        return where, f"is {in_words(there)}, expected a finite number."
    where, there = _found_at(value, steps, lambda one: True)
    if length := re.fullmatch(r"Expected `.+?` of length (>=|<=)? ?(\d+)(?:, got \d+)?", text):
        held = len(there) if isinstance(there, (list, dict, str)) else 0
        more = {">=": " or more", "<=": " or less"}.get(length[1] or "", "")
        return where, f"holds {held} values, expected {length[2]}{more}."
    if text.startswith("Invalid enum value"):
        return where, f"is {in_words(there)}, none of the values that are known here."
    if of_a_key := re.fullmatch(r"(\w+): (.+)", text):  # from a `__post_init__` of ours
        return _joined(where, of_a_key[1]), of_a_key[2]
    return where, text if text.endswith(".") else f"{text}."


def _found_at(value: Any, steps: list[re.Match[str]], meant: Callable[[Any], bool]) -> tuple[str, Any]:
    """The place that msgspec's steps lead to, and what stands there.

    msgspec does not say at which key of an open object it stopped: it is the first whose value is `meant`.
    """
    ends = list(_ends(value, steps, ""))
    return next((end for end in ends if meant(end[1])), ends[0] if ends else ("", None))


def _ends(value: Any, steps: list[re.Match[str]], where: str) -> Iterator[tuple[str, Any]]:
    if not steps:
        yield where, value
    elif (name := steps[0]["name"]) is not None:
        yield from _ends(
            value.get(name) if isinstance(value, dict) else None, steps[1:], _joined(where, name)
        )
    elif steps[0]["index"] != "...":
        index = int(steps[0]["index"])
        inner = value[index] if isinstance(value, list) and index < len(value) else None
        yield from _ends(inner, steps[1:], f"{where}[{index}]")
    else:
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, inner in items:
            yield from _ends(inner, steps[1:], _joined(where, str(key)))


def _kind_of(value: Any) -> str:
    kinds = {type(None): "null", list: "array", dict: "object"}
    return kinds.get(type(value), type(value).__name__)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _joined(where: str, place: str) -> str:
    if not where or not place or place.startswith("["):
        return f"{where}{place}"
    return f"{where}, {place}" if where.startswith("line ") else f"{where}.{place}"
