"""What a file is that was given in another one's place, by its content: said, with what to do about it.

Only what people take for a table or an architecture: spreadsheets, models, weights, YAML, web pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.contents import download_fault, is_safetensors
from ponas_deploy.files.opening import HEAD_BYTES, read_head


@dataclass(frozen=True)
class OtherKind:
    """A kind of file, and what to do with one; `{path}` stands for it."""

    name: str
    advice: str

    def refusal(self, path: Path, expected: str) -> str:
        """What is said where something else (`expected`: "table") is asked for."""
        return f"is {self.name}, no {expected}: {self.advice.format(path=path)}"


_SHEET = OtherKind("a spreadsheet", "save its sheet as CSV, and name that.")
_MODEL = OtherKind("an ONNX model", "`ponas measure {path}` times it.")
_WEIGHTS = OtherKind("a file of weights", "name it with --weights.")
_ARCHIVE = OtherKind("a zip archive", "unpack it, and name the file in it.")
_YAML = OtherKind(
    "YAML",
    "of YAML only once-for-all's latency tables are read, by `ponas table import {path}`, and MMRazor's"
    " fix_subnet, where an architecture is asked for.",
)
FIX_SUBNET = OtherKind(
    "MMRazor's fix_subnet, a network of SPOS",
    "name it where an architecture is asked for: `ponas describe {path}` shows its candidates.",
)
ONCE_FOR_ALL = OtherKind(
    "once-for-all's latency table", "`ponas table import {path} --out TABLE.json` makes a table of it."
)
_KINDS: tuple[tuple[Callable[[bytes], object], OtherKind], ...] = (
    (re.compile(rb"PK\x03\x04.*data\.pkl", re.S).match, _WEIGHTS),
    (re.compile(rb"PK\x03\x04.*(xl/|\[Content_Types\]|opendocument\.spreadsheet)", re.S).match, _SHEET),
    (re.compile(rb"\xd0\xcf\x11\xe0").match, _SHEET),
    (re.compile(rb"PK\x03\x04").match, _ARCHIVE),
    (re.compile(rb"\x80[\x02-\x05]").match, _WEIGHTS),
    (is_safetensors, _WEIGHTS),
    (re.compile(rb"\x93NUMPY").match, OtherKind("a NumPy array", "write it as CSV, with its labels.")),
    (re.compile(rb"\x08[\x01-\x0f][\x12\x1a\":]").match, _MODEL),
    (re.compile(rb"\xff\xfe|\xfe\xff").match, OtherKind("text in UTF-16", "save it as UTF-8.")),
    (
        re.compile(
            rb"^[\s{]*[\"']?((architecture\.)?backbone\.layers?\.?\d+\.\d+|stage_\d+_block_\d+)[\"']?\s*:",
            re.M,
        ).search,
        FIX_SUBNET,
    ),
    (re.compile(rb"^[\"']?(expanded_conv|Conv(_\d)?|AvgPool2D|Logits)-input:\d", re.M).search, ONCE_FOR_ALL),
)
"""What the first bytes of a file say; the first that fits counts."""
NETWORK_OF_OFA = OtherKind(
    "a network of once-for-all",
    "name it where an architecture is asked for: `ponas describe {path}` shows its candidates.",
)
_NETWORK = OtherKind("a network", "`ponas compare {path} --latency-table TABLE` predicts its latency.")
_DOCUMENTS: tuple[tuple[frozenset[str], OtherKind], ...] = (
    (frozenset({"ks", "e", "d"}), NETWORK_OF_OFA),
    (frozenset({"first_conv", "blocks"}), NETWORK_OF_OFA),
    (frozenset({"choices"}), _NETWORK),
)
"""Keys of JSON objects without a format of ours, and what they are."""
_BY_NAME = {".onnx": _MODEL, ".yaml": _YAML, ".yml": _YAML}


def other_kind(path: Path) -> OtherKind | None:
    """What a file is, where it is one of these; FileFormatError for what is no regular file."""
    head = read_head(path, HEAD_BYTES)
    told = next((kind for is_kind, kind in _KINDS if is_kind(head)), None)
    return told or _BY_NAME.get(path.suffix.lower())


def reason_against(path: Path, expected: str) -> str:
    """What is said of a file that is no `expected`, and what to do with it; empty where it may be one."""
    if fault := download_fault(read_head(path, HEAD_BYTES)):
        return fault
    kind = other_kind(path)
    return kind.refusal(path, expected) if kind else ""


def other_document(document: Mapping[str, object]) -> OtherKind | None:
    """What a JSON object of another program, or one that `--json` printed, is."""
    return next((kind for keys, kind in _DOCUMENTS if keys <= document.keys()), None)


def refuse_other_kind(path: Path, expected: str) -> None:
    """FileFormatError says what a file is that is no `expected`, and what to do with it."""
    if reason := reason_against(path, expected):
        raise FileFormatError(path, "", reason)
