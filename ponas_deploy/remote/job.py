"""A job on a board: a worker there that carries out steps, followed over a connection that may be lost.

    with job_on(entry, title="ponas profile") as job:
        (sha,) = job.put([model])
        times = job.do("time", on_line=show, model=sha)

The worker goes on while nobody is connected. `do` connects again and reads on from where the journal was
read to, so that every line comes once. Whatever comes is a stranger's: typed, bounded, text in it printable.
"""

from __future__ import annotations

import getpass
import json
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from math import inf
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, NoReturn

from ponas_deploy.boards.book import Entry
from ponas_deploy.boards.link import MOST_TEXT, BoardError, Link, LinkLostError, answer_of
from ponas_deploy.boards.runner import MOST_JOURNAL_BYTES, PIECE_BYTES
from ponas_deploy.errors import BackendError, MeasurementError, PonasError, printable
from ponas_deploy.files.documents import converted
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.remote.answers import (
    BoardBusyError,
    Followed,
    Lacks,
    Piece,
    Started,
    StepError,
    WorkerEnded,
)
from ponas_deploy.remote.claims import claimed, forget, was_ours
from ponas_deploy.remote.lasting_link import LastingLink
from ponas_deploy.remote.pack import pack
from ponas_deploy.remote.transfers import Along, compressed, sizes, with_bar

OnLine = Callable[[Mapping[str, Any]], None]

IDLE_S = 120.0
"""How long a worker without steps waits for somebody to look after it."""
ABSENT_S = 600.0
"""How long one with a step does."""
LEAVE_S = 10.0
FOLLOW_S = 5.0
"""How long a question for lines waits on the board."""
ANSWER_S = 60.0
SENT_S = 600.0
"""How long an answer to a question with files may take: a slow link still has some of them."""
START_S = 180.0
SILENT_S = 60.0
MOST_FETCHED_BYTES = 1 << 30
_MOST_TITLE = 200
"""Characters that are shown of what others name."""


@contextmanager
def job_on(entry: Entry, *, title: str, on_note: OnNote = no_note, idle_s: float = IDLE_S) -> Iterator[Job]:
    """A worker on a board; it ends with this.

    It ends by itself when nobody looks after it for `idle_s` while it has no step. One that waits there for a
    process of this user's that was killed is ended. Raises BoardBusyError where somebody else has one,
    BoardError where the board cannot be reached.
    """
    job, number = Job(entry, on_note, idle_s), secrets.token_hex(8)
    with claimed(number):
        try:
            job.start(title, number)
            with job.attended():
                yield job
        except BaseException:
            job.leave(at_once=True)
            raise
        else:
            job.leave(at_once=job.under_way)
        finally:
            job.close()


class Job:
    """Steps for a worker on a board, one at a time. `id` names it there.

    `under_way` says that a step was begun whose end was not seen, because something was raised meanwhile.
    When the worker is gone or the board out of reach for too long, no step is tried after that.
    """

    def __init__(self, entry: Entry, on_note: OnNote, idle_s: float) -> None:
        self.id = ""
        self._entry, self._note, self._idle_s = entry, on_note, idle_s
        self._link = LastingLink(entry, on_note)
        self.under_way = False
        self._unasked = True  # whether files of steps are sent before the board says that it lacks them
        self._key = secrets.token_hex(4)
        self._step = self._offset = 0
        self._now = ""

    # --- its beginning and its end

    def start(self, title: str, number: str) -> None:
        """Start a worker, with the archive that it runs from where that is lacking."""
        archive = pack()
        self._link.connect()
        self.id = number
        started = self._ask_to_start(title, archive)
        if started.lacks:
            self.put([archive])
            started = self._ask_to_start(title, archive)
        if started.busy and was_ours(started.busy.job):
            self._note(f"{self._entry.name}: what an earlier command left running there is ended.")
            self._stop(started.busy.job, at_once=True)
            forget(started.busy.job)
            started = self._ask_to_start(title, archive)
        if started.busy:
            raise BoardBusyError(self._entry.name, started.busy)

    def _ask_to_start(self, title: str, archive: bytes) -> Started:
        asked = {
            "job": self.id,
            "pack": sha256(archive).hexdigest(),
            "title": printable(title)[:_MOST_TITLE],
            "by": _oneself(),
            "idle_s": self._idle_s,
            "absent_s": ABSENT_S,
        }
        return self._link.ask(lambda link: link.ask("start", Started, START_S, **asked))

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Say from time to time that the worker is needed, while nothing else is asked of it."""
        left, period_s = Event(), min(30.0, self._idle_s / 4)
        alone = self._link.one_at_a_time

        def attend() -> None:
            while not left.wait(period_s):
                if monotonic() - self._link.asked > period_s and alone.acquire(blocking=False):
                    try:
                        with suppress(PonasError):  # the next step connects again, or says why it cannot
                            self._link.ask(lambda link: link.ask("look", dict, ANSWER_S, job=self.id), 0)
                    finally:
                        alone.release()

        thread = Thread(target=attend, daemon=True)
        thread.start()
        try:
            yield
        finally:
            left.set()

    def leave(self, *, at_once: bool) -> None:
        """End the worker and remove what it left, as far as the board can be reached."""
        if not self.id or isinstance(self._link.gone, LinkLostError):
            return
        try:
            self._stop(self.id, at_once=at_once)
        except PonasError as error:
            self._note(f"{error} Its worker ends by itself when nobody looks after it.")

    def _stop(self, job: str, *, at_once: bool) -> None:
        asked = {"job": job, "at_once": at_once}
        self._link.ask(lambda link: link.ask("stop", dict, ANSWER_S, **asked), LEAVE_S)

    def stop(self) -> None:
        """Have the thread that uses this job raise JobStopped soon; another thread calls this."""
        self._link.stop()

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    # --- what is asked of it

    @property
    def sent_bytes(self) -> int:
        """All that was sent to the board, before it is encrypted."""
        return self._link.sent_bytes

    @property
    def received_bytes(self) -> int:
        """All that came from it."""
        return self._link.received_bytes

    def put(self, contents: Iterable[bytes]) -> tuple[str, ...]:
        """Send what the board lacks of these files: the SHA-256 of each."""
        files = [(sha256(content).hexdigest(), content) for content in contents]
        if files:  # asked for each time: a small disk keeps few of those that it has been sent
            self._link.ask(lambda link: self._put(link, dict(files)))
        return tuple(sha for sha, _ in files)

    def _put(self, link: Link, files: Mapping[str, bytes]) -> None:
        lacking = set(link.ask("lacks", Lacks, ANSWER_S, shas=list(files)).lacks)
        if sent := {sha: content for sha, content in files.items() if sha in lacking}:
            with with_bar(f"sending to {self._entry.name}") as on_bytes:
                frames = compressed(tuple(sent.values()), on_bytes)
                link.exchange("put", dict, SENT_S, frames=frames, blobs=sizes(sent))

    def fetch(
        self, sha: str, most_bytes: int = MOST_FETCHED_BYTES, begun: bytes = b"", size: int = -1
    ) -> bytes:
        """A file of the board, which is what its hash says; BoardError where there is none, or a larger one.

        `begun` is what came of it already, and `size` what it has, where that is known.
        """
        found = bytearray(begun)

        def ask(link: Link) -> tuple[Piece, tuple[bytes, ...]]:
            return link.exchange("get", Piece, ANSWER_S, pieces=1, sha=sha, offset=len(found))

        with with_bar(f"fetching from {self._entry.name}") as on_bytes:
            while len(found) != size:
                piece, (data,) = self._link.ask(ask)
                size = piece.size
                found += data
                if not data or len(found) > size or size > most_bytes:
                    break
                on_bytes(len(found), size)
        if max(len(found), size) > most_bytes:
            raise self._error(f"file {sha[:12]} has more than the {most_bytes >> 20} MiB asked for.")
        if sha256(found).hexdigest() != sha:
            raise self._error(f"file {sha[:12]} came as another one.")
        return bytes(found)

    def do_with_file(self, do: str, content: bytes, most_bytes: int, **details: Any) -> bytes:
        """Have a step done to a `file`, and return the file that it makes: one round trip where it is quick.

        The file is sent unasked, unless the board had the one before.
        """
        sha = sha256(content).hexdigest()
        along = Along({sha: content}, fetch=True)
        made = self.do(do, along=along, file=sha, **details)
        made = converted(made, str, Path(self._entry.name), do)
        return self.fetch(made, most_bytes, along.begun, along.size)

    def do(
        self,
        do: str,
        on_line: OnLine | None = None,
        *,
        no_output_s: float = inf,
        along: Along | None = None,
        **details: Any,
    ) -> Any:
        """Have a step done, and return its value. `on_line` gets every line it writes, in order, once.

        A worker whose step writes no line for `no_output_s` counts as ended: native code may hang while a
        thread beats.

        Raises what the step raised (BackendError, MeasurementError, PonasError; RuntimeError with its
        traceback for a bug), WorkerEnded where its worker is gone, BoardError where the board is out of reach
        for too long.
        """
        self._step, along = self._step + 1, along or Along()
        step = json.dumps({"n": self._step, "key": self._key, "do": do, "details": details})
        self._now = f"step {do} was to begin"
        heard = told = monotonic()
        self.under_way = True
        while True:
            try:
                followed, data = self._follow(step, along)
            except LinkLostError:
                raise
            except BoardError:  # it did not take the step: the next one has its number
                self._step -= bool(step)
                self.under_way = not step
                raise
            step = ""
            self._offset = followed.next
            for line in self._lines(data):
                told = monotonic()
                if "done" in line:
                    self.under_way = False
                    return line["done"]
                if "error" in line:
                    self.under_way = False
                    self._raise(converted(line["error"], StepError, Path(self._entry.name), do))
                if on_line is not None:
                    on_line(line)
            if followed.ended:
                self.under_way = False
                raise self._ended(followed.ended.what)
            if monotonic() - told > no_output_s:
                raise self._ended(f"gave no output for {monotonic() - told:.0f} s")
            heard = monotonic() if data else heard
            if monotonic() - heard > SILENT_S:
                self._note(
                    f"{self._entry.name}: its worker gave no output for {SILENT_S:.0f} s while {self._now}."
                )
                heard = monotonic()

    def _ended(self, what: str) -> WorkerEnded:
        """What is raised for every step from now on."""
        self._link.gone = ended = WorkerEnded(self._entry.name, what, self._now)
        return ended

    def _follow(self, step: str, along: Along) -> tuple[Followed, bytes]:
        files = along.files if step else {}
        asked: dict[str, Any] = {
            "job": self.id,
            "n": self._step,
            "offset": self._offset,
            "wait_s": FOLLOW_S,
            "step": step,
            "blobs": sizes(files),
            "fetch": along.fetch,
        }
        pieces = 2 if along.fetch else 1

        def ask(link: Link) -> tuple[Followed, tuple[bytes, ...]]:
            return link.exchange("follow", Followed, FOLLOW_S + ANSWER_S, pieces=pieces, sent=False, **asked)

        def send(link: Link) -> tuple[Followed, tuple[bytes, ...]]:
            with with_bar(f"sending to {self._entry.name}") as on_bytes:
                frames = compressed(tuple(files.values()), on_bytes)
                return link.exchange(
                    "follow", Followed, SENT_S, pieces=pieces, frames=frames, sent=True, **asked
                )

        followed, data = self._link.ask(send if files and self._unasked else ask)
        if followed.lacks and not self._unasked:
            followed, data = self._link.ask(send)
        if files:
            self._unasked = bool(followed.lacks)
        if followed.size:
            along.size, along.begun = followed.size, data[1]
        whole = not data[0] or data[0].endswith(b"\n")
        if not whole or followed.next != self._offset + len(data[0]):
            raise self._error("its journal comes in pieces that do not fit together.")
        if followed.next > MOST_JOURNAL_BYTES + PIECE_BYTES:
            raise self._error(f"its journal has over {MOST_JOURNAL_BYTES >> 20} MiB.")
        return followed, data[0]

    def _lines(self, data: bytes) -> Iterator[Mapping[str, Any]]:
        """The lines of the step that is done now, printable."""
        for text in data.splitlines():
            line = answer_of(text, self._entry.name, "journal")
            if "step" not in line:
                continue
            if type(line["step"]) is not int or not 1 <= line["step"] <= self._step:
                raise self._error("its journal tells of a step that it was not given.")
            if line["step"] == self._step:
                self._now = str(line.get("now", self._now))[:_MOST_TITLE]
                yield line

    def _raise(self, error: StepError) -> NoReturn:
        if error.kind == "bug":
            lines = "\n".join(map(printable, error.text[-MOST_TEXT:].splitlines()))
            raise RuntimeError(f"on the board {self._entry.name}:\n{lines}")
        text = printable(error.text[:MOST_TEXT])
        if error.kind == "BackendError":
            raise BackendError(printable(error.backend[:_MOST_TITLE]), text)
        if error.kind == "MemoryError":
            raise MeasurementError(f"{self._entry.name}: {text} while {printable(self._now)}.")
        raise MeasurementError(text) if error.kind == "MeasurementError" else PonasError(text)

    def _error(self, reason: str) -> BoardError:
        return BoardError(self._entry.name, reason)


def _oneself() -> str:
    """Who measures, for others who want to."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name belongs to this user's number
        user = "somebody"
    return printable(f"{user}@{platform.node()}")[:_MOST_TITLE]
