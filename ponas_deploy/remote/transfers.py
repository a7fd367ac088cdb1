"""Files on their way to a board and back: compressed, in frames, with a bar where that takes long."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ponas_deploy.boards.runner import TOGETHER, turns
from ponas_deploy.files.notes import Advance, transfer_bar

OnBytes = Callable[[int, int], None]
"""Called with the bytes that have travelled, and those in total."""

_STEP_BYTES = 1 << 18
"""How far a bar moves; what has fewer bytes opens none."""


@dataclass(slots=True)
class Along:
    """What goes with a step: the files that it takes, by their SHA-256, and whether what it makes is fetched.

    `begun` is what came of that with the answer, `size` that of the whole file where it is known.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    fetch: bool = False
    begun: bytes = b""
    size: int = -1


def sizes(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """What a board is told of files that it gets."""
    return [{"sha": sha, "size": len(content)} for sha, content in files.items()]


def compressed(contents: Sequence[bytes], on_bytes: OnBytes) -> Iterator[bytes]:
    """One compressed stream of all, in the turns that the runner expects, in frames, none of them empty."""
    stream, done, total = zlib.compressobj(), 0, sum(map(len, contents))
    on_bytes(done, total)
    for piece in _pieces(contents):
        if frame := stream.compress(piece):
            yield frame
        done += len(piece)
        on_bytes(done, total)
    yield stream.flush()


def _pieces(contents: Sequence[bytes]) -> Iterator[bytes]:
    """All bytes of files in the order in which they travel."""
    for begin in range(0, len(contents), TOGETHER):
        some = contents[begin : begin + TOGETHER]
        ends = [0] * len(some)
        for number, size in turns([len(content) for content in some]):
            at, ends[number] = ends[number], ends[number] + size
            for place in range(at, ends[number], _STEP_BYTES):
                yield some[number][place : min(place + _STEP_BYTES, ends[number])]


@contextmanager
def with_bar(what: str) -> Iterator[OnBytes]:
    """A bar of a transfer, where the command shows bars (`files.notes.transfer_bar`)."""
    with ExitStack() as stack:
        opened: list[Advance] = []

        def on_bytes(done: int, total: int) -> None:
            if total > _STEP_BYTES and not opened:
                opened.append(stack.enter_context(transfer_bar.get()()))
            for advance in opened:
                advance(done >> 10, total >> 10, f"{what} (KiB)")

        yield on_bytes
