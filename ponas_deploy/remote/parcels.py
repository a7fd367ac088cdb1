"""Models as they travel to a board: literal bytes, and patterns that repeat, each pattern sent once.

What a profile times has weights of no use, repeated from one small pool (`profiling.models`), so that a
network of 20 MB is some kilobytes of graph and the patterns that all models share. An engine's real weights
are patterns that do not repeat, each kept on the board by its hash. The board puts a model together again,
byte for byte.

A parcel is a line of JSON, `{"parts": [...]}`, and the literal bytes. A part is a number (so many of the
literal bytes) or a pair (SHA-256 of a pattern, so many bytes of it, from its beginning again where it ends).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

LEAST_BYTES = 512
"""Shorter tensors are literal."""
_PERIOD = 1 << 14
_KEY = 64


def parcels(models: Mapping[str, bytes]) -> tuple[dict[str, bytes], tuple[bytes, ...]]:
    """The parcel of each ONNX model by its key, and the patterns of all of them."""
    found = {key: tuple(_tensors(model)) for key, model in models.items()}
    longest: dict[bytes, bytes] = {}
    for tensors in found.values():
        for _, _, pattern in tensors:
            known = longest.get(pattern[:_KEY], b"")
            if len(pattern) > len(known) and pattern.startswith(known):
                longest[pattern[:_KEY]] = pattern
    kept: dict[str, bytes] = {}

    def part(size: int, pattern: bytes) -> tuple[str, int]:
        """A tensor of this size: of its own pattern, or where that is all of it of a longer one."""
        known = longest[pattern[:_KEY]]
        if known.startswith(pattern) and size <= len(pattern):
            pattern = known
        sha = sha256(pattern).hexdigest()
        kept[sha] = pattern
        return sha, size

    made = {key: _parcel(model, found[key], part) for key, model in models.items()}
    return made, tuple(kept.values())


def _parcel(
    model: bytes, tensors: Iterable[tuple[int, int, bytes]], part: Callable[[int, bytes], tuple[str, int]]
) -> bytes:
    parts: list[Any] = []
    literal, at = bytearray(), 0
    for begin, end, pattern in tensors:
        parts += [begin - at, part(end - begin, pattern)]
        literal += model[at:begin]
        at = end
    literal += model[at:]
    parts.append(len(model) - at)
    return json.dumps({"parts": parts}).encode() + b"\n" + bytes(literal)


def _tensors(model: bytes) -> Iterable[tuple[int, int, bytes]]:
    """Where the longer tensors of a model begin and end in its bytes, and the pattern of each."""
    import numpy as np
    import onnx

    at, whole = 0, np.frombuffer(model, np.uint8)
    for tensor in onnx.load_model_from_string(model).graph.initializer:
        raw = tensor.raw_data
        if len(raw) < LEAST_BYTES or (begin := model.find(raw, at)) < 0:
            continue
        at = begin + len(raw)
        bytes_of = whole[begin:at]
        repeats = np.array_equal(bytes_of[_PERIOD:], bytes_of[:-_PERIOD]) if len(raw) > _PERIOD else True
        yield begin, at, raw[:_PERIOD] if repeats else raw


# --- on the board


def unpacked(parcel: bytes, blob: Callable[[str], Path]) -> bytes:
    """The model of a parcel; `blob` says where a pattern lies."""
    head, _, literal = parcel.partition(b"\n")
    model, at = bytearray(), 0
    for part in json.loads(head.decode())["parts"]:
        if isinstance(part, int):
            model += literal[at : at + part]
            at += part
        else:
            pattern, size = blob(part[0]).read_bytes(), part[1]
            model += (pattern * -(-size // len(pattern)))[:size]
    return bytes(model)
