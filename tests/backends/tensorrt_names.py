"""Every name of TensorRT's Python bindings, as JSON: a program; it takes the folder of their package.

    LD_LIBRARY_PATH=<stubs> python tensorrt_names.py <folder that holds tensorrt_bindings/>

The bindings are one shared library; what it exports, which arguments its methods take and what they return
stands in the docstrings that pybind11 writes. Prints `{"version": ..., "names": {name: entry}}`, where the
entry of a class maps each member to `{"arguments": [...], "returns": ...}` (both null for what is no method).
"""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from typing import Any

_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\)(?: -> (.*))?$", re.MULTILINE)


def signature(name: str, doc: str | None) -> dict[str, Any]:
    """The arguments of all overloads together, and the class that is returned (without its module)."""
    arguments: list[str] = []
    returns = None
    for found, inside, result in _SIGNATURE.findall(doc or ""):
        if found != name or inside == "*args, **kwargs":
            continue
        names = [part.split(":")[0].split("=")[0].strip() for part in split_at_commas(inside)]
        arguments += [one for one in names if one and one != "self" and one not in arguments]
        returns = result.split(".")[-1] if result else returns
    return {"arguments": arguments, "returns": returns}


def split_at_commas(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([<{") - (letter in ")]>}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def members(thing: type) -> dict[str, Any]:
    """The members of a class, those of its bases among them."""
    found: dict[str, Any] = {}
    for name in dir(thing):
        if name.startswith("_") and name != "__init__":
            continue
        value = getattr(thing, name)
        method = callable(value) and not isinstance(value, type)
        found[name] = signature(name, value.__doc__) if method else {"arguments": None, "returns": None}
    return found


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    bindings = import_module("tensorrt_bindings")
    names: dict[str, Any] = {}
    for name in dir(bindings):
        value = getattr(bindings, name)
        if name == "__version__" or not name.startswith("_"):
            names[name] = members(value) if isinstance(value, type) else signature(name, value.__doc__)
    print(json.dumps({"version": bindings.__version__, "names": names}))


if __name__ == "__main__":
    main(*sys.argv[1:])
