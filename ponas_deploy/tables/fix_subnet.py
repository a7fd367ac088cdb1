"""Architectures as MMRazor writes them: `fix_subnet` YAML of SPOS networks, one entry a layer.

    stage_0_block_0: {chosen: [shuffle_7x7]}                 0.x, a list of one
    backbone.layers.0.0: {chosen: shuffle_7x7}               1.x, ShuffleNetV2, stages from 0
    backbone.layer2.0: {chosen: mb_k5e3}                     1.x, MobileNet, stages from 1
    backbone.layers.0.0: shuffle_7x7                         1.0.0rc0; a draft of it has this below `modules:`
    architecture.backbone.layers.0.0: {chosen: !!python...}  as its search writes it, labels as NumPy's
    strings

What stands beside a label as `meta` is left out. Every layer stands there once, the fixed first block of
MobileNet included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ponas_deploy.errors import ArchitectureError, FileFormatError
from ponas_deploy.files.yaml_documents import read_yaml
from searchspace import Architecture
from searchspace.mmrazor import FIXED, SPACES_OF_MMRAZOR, Fixed, module_of
from searchspace.space import Space
from searchspace.spos_authors import SPACE as AUTHORS_SPACE

_SEARCHED = "architecture."
_OLD = "stage_"
_READ_IN = (*SPACES_OF_MMRAZOR, AUTHORS_SPACE)
"""Candidates of the authors' space have the same labels: a file does not say that it is of that one."""


def chosen_labels(path: Path) -> dict[str, str]:
    """The label of each key of a file, in its order, without what its search put before the keys.

    FileFormatError says what is no entry of such a file.
    """
    document = read_yaml(path)
    if isinstance(document, dict) and "modules" in document:
        if set(document) - {"modules", "channels"} or document.get("channels"):
            raise FileFormatError(path, "", "holds more than 'modules' and an empty 'channels'.")
        document = document["modules"]
    if not isinstance(document, dict) or not document:
        raise FileFormatError(path, "", "is no fix_subnet of MMRazor: one entry a layer is expected.")
    found: dict[str, str] = {}
    for key, value in document.items():
        name = key.removeprefix(_SEARCHED)
        if name in found:
            raise FileFormatError(path, name, f"stands there with and without '{_SEARCHED}' before it.")
        found[name] = _label(path, key, value)
    return found


def _label(path: Path, key: str, value: Any) -> str:
    if isinstance(value, dict):
        if set(value) - {"meta"} != {"chosen"}:
            raise FileFormatError(
                path, key, f"holds {', '.join(sorted(value)) or 'nothing'}, expected 'chosen'."
            )
        value = value["chosen"]
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if not isinstance(value, str):
        raise FileFormatError(path, key, "names no candidate: one label is expected.")
    return value


def space_of_labels(labels: Mapping[str, str]) -> str:
    """The space that the keys and labels of a file are of."""
    shuffle, proxyless = SPACES_OF_MMRAZOR
    if all(key.startswith(_OLD) for key in labels):
        return shuffle if any(label.startswith("shuffle_") for label in labels.values()) else proxyless
    return shuffle if any(key.startswith("backbone.layers.") for key in labels) else proxyless


def labels_of(path: Path, space: Space) -> tuple[str, ...]:
    """One label a layer of a space; FileFormatError names the key of what is missing, too much or wrong."""
    found = chosen_labels(path)
    if space.name not in _READ_IN:
        reason = f"is a network of MMRazor's SPOS, and space '{space.name}' is another: name one of its own."
        raise FileFormatError(path, "", reason)
    keys = _keys(space, old=all(key.startswith(_OLD) for key in found))
    for key in found:
        if key not in keys:
            raise FileFormatError(path, key, f"is no layer of space '{space.name}'.")
    labels = []
    for key, known in keys.items():
        if key not in found:
            raise FileFormatError(path, key, f"is missing: space '{space.name}' has this layer.")
        if found[key] not in known:
            raise FileFormatError(path, key, f"is '{found[key]}': known are {', '.join(known)}.")
        labels.append(found[key])
    return tuple(labels[len(keys) - len(space.layers) :])


def fix_subnet(architecture: Architecture) -> str:
    """The text of a `fix_subnet` file of MMRazor 1.x; ArchitectureError for one of another space.

    That of the SPOS authors is another: nothing in a file would tell their blocks from MMRazor's.
    """
    space = architecture.space
    if space.name not in SPACES_OF_MMRAZOR:
        known = " and ".join(SPACES_OF_MMRAZOR)
        raise ArchitectureError(
            f"{architecture.name} is of space '{space.name}', and MMRazor's YAML is of {known}: write it as"
            " JSON, which names the space."
        )
    fixed = FIXED.get(space.name)
    labels = (*((fixed.label,) if fixed else ()), *architecture.choices)
    return "".join(f"{key}:\n  chosen: {label}\n" for key, label in zip(_keys(space), labels, strict=True))


def _keys(space: Space, *, old: bool = False) -> dict[str, tuple[str, ...]]:
    """The keys of a file of a space in order, those of 0.x if `old`, and the labels that each may have."""
    fixed: Fixed | None = FIXED.get(space.name)
    first = {f"{_OLD}0_block_0" if old else fixed.module: (fixed.label,)} if fixed else {}
    return {
        **first,
        **{layer.name if old else module_of(space, layer): layer.labels for layer in space.layers},
    }
