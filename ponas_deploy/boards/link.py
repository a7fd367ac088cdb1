"""A connection to a board: one process (ssh, docker exec, a Python of this machine), frames both ways.

What comes back is a stranger's: frames are bounded, answers are JSON, and nothing of it is printed as it is.
The process ends with the connection; so does the runner, when its input does.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import monotonic
from typing import IO, Any, TypeVar

from ponas_deploy.boards.address import why_ended, words_before
from ponas_deploy.boards.book import Entry
from ponas_deploy.boards.bootstrap import (
    MARK,
    MOST_FRAME_BYTES,
    bootstrap,
    command_there,
    runner_source,
)
from ponas_deploy.boards.runner import PIECE_BYTES
from ponas_deploy.errors import FileFormatError, MeasurementError, PonasError, printable
from ponas_deploy.files.documents import converted, parse

Answer = TypeVar("Answer")

CONNECT_S = 60.0
ANSWER_S = 600.0
_MOST_NOISE = 1 << 20
"""What a login shell may print before the first answer."""
_MOST_REASON = 1000
MOST_TEXT = 10_000
"""Characters of a text: no answer of ours has a longer one."""
_MOST_NUMBER = 2.0**53
"""No number in an answer is larger: as nanoseconds it is a hundred days."""
_MOST_FRAMES = 2
"""Of an answer: what a board sends that nobody asked for is not read."""
_MOST_ERRORS = 64 << 10
"""Bytes that are kept of what ssh and a login shell say."""
_ENDED = b""


class BoardError(MeasurementError):
    """A board that cannot be reached, or that does not answer. Attributes: `board` (its name), `reason`."""

    def __init__(self, board: str, reason: str) -> None:
        self.board, self.reason = board, reason
        super().__init__(printable(f"{board}: {reason}"))


class LinkLostError(BoardError):
    """There is no connection, or none any more: another one may come about."""


@contextmanager
def connected(entry: Entry, connect_s: float = CONNECT_S) -> Iterator[Link]:
    """A connection whose runner answers; BoardError says why there is none.

    `connect_s` is how long there may be nothing of the runner: people who type a password take their time.
    """
    number = secrets.token_hex(8)
    code = bootstrap(number)
    words = [*words_before(entry.board), *command_there(entry.board.python, code)]
    if entry.board.host is None:
        words[-1] = words[-1].strip("'")  # no shell takes the quotes away
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise LinkLostError(entry.name, f"{words[0]} cannot be started: {error.strerror}.") from error
    link = Link(entry.name, process)
    try:
        link.begin(code, f"{number}\n".encode(), connect_s)
        yield link
    finally:
        link.close()


class Link:
    """Ask the runner of a board, one question at a time."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name, self._process = name, process
        self._frames: Queue[bytes] = Queue(_MOST_FRAMES)
        self._closed = Event()
        self._errors = bytearray()
        self._reader = Thread(target=_read_end, args=(process.stderr, self._errors), daemon=True)
        self._reader.start()
        self._questions = zlib.compressobj()  # one stream: what was asked before need not be sent again
        self.sent_bytes = 0
        self.received_bytes = 0

    def begin(self, code: bytes, number: bytes, connect_s: float) -> None:
        """Start the runner: send the bootstrap, wait for its mark, send the runner where it is not kept."""
        assert self._process.stdout is not None
        read = (self._process.stdout, MARK + number, self._frames, self._closed)
        Thread(target=_read, args=read, daemon=True).start()
        self._write(code)
        if not self._message(connect_s)["runner"]:
            self._send(runner_source())

    def ask(self, question: str, kind: type[Answer], timeout_s: float = ANSWER_S, **details: Any) -> Answer:
        """The runner's answer as a typed value; BoardError where it has none."""
        return self.exchange(question, kind, timeout_s, **details)[0]

    def exchange(
        self,
        question: str,
        kind: type[Answer],
        timeout_s: float = ANSWER_S,
        *,
        frames: Iterable[bytes] | None = None,
        pieces: int = 0,
        **details: Any,
    ) -> tuple[Answer, tuple[bytes, ...]]:
        """The same of a question with data in `frames`, none of them empty, and so many pieces in its answer.

        A piece has at most PIECE_BYTES.
        """
        asked = json.dumps({"ask": question, "frames": frames is not None, **details}).encode()
        self._send(self._questions.compress(asked) + self._questions.flush(zlib.Z_SYNC_FLUSH))
        if frames is not None:
            for frame in frames:
                self._send(frame)
            self._send(b"")
        answer = converted(self._message(timeout_s).get("answer"), kind, Path(self._name), question)
        return answer, tuple(self._piece(timeout_s) for _ in range(pieces))

    def round_trip_ms(self, times: int = 5) -> float:
        """The least time of an empty question, in milliseconds."""
        taken = []
        for _ in range(times):
            started = monotonic()
            self.ask("echo", dict)
            taken.append(monotonic() - started)
        return 1000 * min(taken)

    def drop(self) -> None:
        """End the connection at once, whatever is under way on it."""
        self._process.kill()

    def close(self) -> None:
        """End the connection, with the process that carries it."""
        self._closed.set()
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, data: bytes) -> None:
        self._write(struct.pack(">I", len(data)) + data)

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError as error:
            raise self._lost() from error
        self.sent_bytes += len(data)

    def _message(self, timeout_s: float) -> Mapping[str, Any]:
        """The next frame as an object; its error is raised here."""
        message = answer_of(self._frame(timeout_s), self._name, "answer")
        if "error" in message:
            raise BoardError(self._name, f"{str(message['error'])[:_MOST_REASON]}.")
        return message

    def _piece(self, timeout_s: float) -> bytes:
        """The next frame as the data that was compressed in it."""
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(self._frame(timeout_s), PIECE_BYTES + 1)
        except zlib.error:
            raise BoardError(self._name, "answers something else than a runner of ours.") from None
        if not stream.eof or len(data) > PIECE_BYTES:
            raise BoardError(self._name, f"answers with more than {PIECE_BYTES >> 20} MiB, or half of it.")
        return data

    def _frame(self, timeout_s: float) -> bytes:
        try:
            frame = self._frames.get(timeout=timeout_s)
        except Empty:
            raise LinkLostError(self._name, f"gave no answer for {timeout_s:.0f} s.") from None
        if frame == _ENDED:
            raise self._lost()
        self.received_bytes += 4 + len(frame)
        return frame

    def _lost(self) -> PonasError:
        """Why there is no connection (any more), by what carried it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._reader.join(2)
        said = bytes(self._errors).decode("utf-8", "replace").strip().splitlines()
        if len(self._errors) == _MOST_ERRORS:
            del said[:1]  # its beginning was not kept
        because = why_ended(said) or f"exit code {self._process.poll()}"
        return LinkLostError(self._name, f"the connection ended ({because}).")


def _read_end(stream: IO[bytes], end: bytearray) -> None:
    """Keep the end of what a stream says, as long as it says something."""
    with stream:
        while data := os.read(stream.fileno(), _MOST_ERRORS):
            end += data
            del end[:-_MOST_ERRORS]


def _read(stream: IO[bytes], mark: bytes, frames: Queue[bytes], closed: Event) -> None:
    """Hand on every frame behind the mark, then an empty one; no further than somebody takes them."""

    def hand_on(frame: bytes) -> None:
        while not closed.is_set():
            with suppress(Full):
                return frames.put(frame, timeout=1)

    with suppress(OSError, ValueError):  # closed by the other thread
        if _skip_to(stream, mark):
            while not closed.is_set() and len(head := stream.read(4)) == 4:
                length = struct.unpack(">I", head)[0]
                if not 0 < length <= MOST_FRAME_BYTES or len(data := stream.read(length)) < length:
                    break
                hand_on(data)
    hand_on(_ENDED)


def _skip_to(stream: IO[bytes], mark: bytes) -> bool:
    """Read past the mark; False where it does not come."""
    seen = b""
    for _ in range(_MOST_NOISE):
        byte = stream.read(1)
        if not byte:
            return False
        seen = (seen + byte)[-len(mark) :]
        if seen == mark:
            return True
    return False


def answer_of(data: bytes, board: str, what: str) -> dict[str, Any]:
    """An object of JSON that a board sent, with text that can be printed: all that one says passes here.

    What has an `error` comes as it is: who raises that cuts it. BoardError for what is too long or no object,
    FileFormatError for what is no JSON, or holds a number or a text that no answer of ours does.
    """
    if len(data) > PIECE_BYTES:
        raise BoardError(board, f"answers with more than {PIECE_BYTES >> 20} MiB.")
    path = Path(board)
    found = parse(data.decode("utf-8", "replace"), path, what)
    if not isinstance(found, dict):
        raise BoardError(board, "answers something else than a runner of ours.")
    return found if "error" in found else dict(bounded(found, path, what))


def bounded(value: Any, path: Path, what: str) -> Any:
    """JSON from a board, its text printable; FileFormatError for a number or a text that none of ours has."""
    if isinstance(value, str):
        if len(value) > MOST_TEXT:
            raise FileFormatError(path, what, f"holds a text of over {MOST_TEXT:,} characters.")
        return printable(value)
    if isinstance(value, (int, float)) and not abs(value) <= _MOST_NUMBER:
        raise FileFormatError(path, what, f"holds a number beyond {_MOST_NUMBER:.0e}.")
    if isinstance(value, list):
        return [bounded(inner, path, what) for inner in value]
    if isinstance(value, dict):
        return {bounded(key, path, what): bounded(inner, path, what) for key, inner in value.items()}
    return value
