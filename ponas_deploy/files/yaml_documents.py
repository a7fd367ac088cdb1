"""YAML that somebody else wrote, as plain values. PyYAML reads its grammar, and constructs nothing.

A value that stands once and is meant often (an alias) makes a few lines as large as a memory: it is refused.
Of Python's own tags only NumPy's strings are read, which searches write in place of text; their characters
lie in the file (UTF-32 in base64), and are decoded without NumPy's being asked. Tags of anything else are
refused, of keys as of values.
"""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from ponas_deploy.errors import FileFormatError, MissingExtraError
from ponas_deploy.files.documents import MOST_NESTED
from ponas_deploy.files.opening import MIB, read_text

MOST_YAML_BYTES = 16 * MIB
_YAML = "tag:yaml.org,2002:"
_NUMBERS = (f"{_YAML}float", f"{_YAML}int")
_CORE = ("bool", "float", "int", "map", "null", "seq", "str")
_UNTAGGED = ("timestamp", "value")
"""What PyYAML calls dates and '=', which have no tag in the file."""
_KNOWN = {f"{_YAML}{kind}" for kind in (*_CORE, *_UNTAGGED)}
_PYTHON, _BINARY = f"{_YAML}python/", f"{_YAML}binary"
_NUMPY_SCALAR = re.compile(rf"{_PYTHON}object/apply:numpy\.(_core|core)\.multiarray\.scalar")
_NUMPY_DTYPE = f"{_PYTHON}object/apply:numpy.dtype"
_UTF32 = {"<": "utf-32-le", ">": "utf-32-be"}
_LONGEST_TEXT, _LONGEST_SHOWN = 1024, 80
_TOO_DEEP = f"is not YAML that can be read (nested more than {MOST_NESTED} deep)."


def read_yaml(path: Path) -> Any:
    """The one document of a file: objects, lists, numbers as floats, and every other scalar as text.

    FileFormatError names the line of what is no YAML, of an alias, of a key that stands twice, of a Python
    object, and of any other tag that is not in YAML's core; MissingExtraError where PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("PyYAML, which reading YAML needs,", "yaml") from error
    text = read_text(path, MOST_YAML_BYTES)
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        return _plain(yaml.compose(text, loader), path, set(), 0)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise FileFormatError(path, where, f"is not valid YAML ({error.problem}).") from error
    except yaml.YAMLError as error:
        raise FileFormatError(path, "", "is not valid YAML (a character that is not text).") from error
    except RecursionError as error:
        raise FileFormatError(path, "", _TOO_DEEP) from error


def _plain(node: Any, path: Path, seen: set[int], depth: int) -> Any:
    """A node of PyYAML's tree as a value; `seen` are the nodes before it."""
    if node is None:
        return None
    where = f"line {node.start_mark.line + 1}"
    if node.tag.startswith(_PYTHON):
        return _numpy_text(node, path, where)
    if node.tag not in _KNOWN:
        reason = (
            f"has the tag '{node.tag[:_LONGEST_SHOWN]}', which is not one of YAML's own; nothing was run."
        )
        raise FileFormatError(path, where, reason)
    if id(node) in seen:
        raise FileFormatError(path, where, "is meant a second time by an alias (*), write it out there.")
    if depth > MOST_NESTED:
        raise FileFormatError(path, where, _TOO_DEEP)
    seen.add(id(node))
    if isinstance(node.value, str):
        return _scalar(node)
    if node.id == "sequence":
        return [_plain(inner, path, seen, depth + 1) for inner in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        name, place = _plain(key, path, seen, depth + 1), f"line {key.start_mark.line + 1}"
        name = key.value if isinstance(name, float) else name
        if not isinstance(name, str):
            raise FileFormatError(path, place, "has a key that is no text.")
        if name in found:
            raise FileFormatError(path, place, f"the key '{name}' stands here a second time.")
        found[name] = _plain(value, path, seen, depth + 1)
    return found


def _scalar(node: Any) -> float | str:
    text: str = node.value
    try:
        return float(text) if node.tag in _NUMBERS else text
    except ValueError:  # YAML's other notations: 0x1f, .inf, 1:30
        return text


def _numpy_text(node: Any, path: Path, where: str) -> str:
    """The characters of a NumPy string: its type says how many there are, and in which byte order."""
    try:
        if not _NUMPY_SCALAR.fullmatch(node.tag):
            raise ValueError
        dtype, characters = node.value
        if dtype.tag != _NUMPY_DTYPE or characters.tag != _BINARY:
            raise ValueError
        parts = {key.value: [one.value for one in value.value] for key, value in dtype.value}
        kind, order = parts["args"][0], parts["state"][1]
        raw = b64decode("".join(characters.value.split()), validate=True)
        if not re.fullmatch("U[0-9]{1,4}", kind) or not 4 * int(kind[1:]) == len(raw) <= 4 * _LONGEST_TEXT:
            raise ValueError
        text = raw.decode(_UTF32[order]).rstrip("\0")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        what = node.tag.removeprefix(_PYTHON)[:_LONGEST_SHOWN]
        reason = f"holds a Python object ({what}), of which only NumPy's strings are read; nothing was run."
        raise FileFormatError(path, where, reason) from error
    return text
