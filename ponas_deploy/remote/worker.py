"""The process on a board that carries out the steps of a job, and the small one that keeps it.

The keeper leads a session of its own, so that it and the worker outlive the connection that started them. It
forks the worker, notes how that ended, and ends it when nobody has looked after the job for too long, even
while native code holds the interpreter. The worker reads `steps.jsonl` and writes `journal.jsonl` in the
job's folder: what a step writes, `{"beat": k}` while one runs, and `done` or `error` at its end. What is
written before something that may bring it down (`{"now": ...}`) is on the disk before it begins.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Callable, Dict, Iterator, NoReturn, Sequence

from ponas_deploy.boards.runner import MOST_JOURNAL_BYTES, PIECE_BYTES, read, sentence, sign
from ponas_deploy.errors import BackendError, MeasurementError, PonasError
from ponas_deploy.remote.state import State

Write = Callable[[Dict[str, Any]], None]
Step = Callable[[State, Dict[str, Any], Write], Any]

STEPS = "ponas_deploy.remote.steps"
"""The module whose `STEPS` holds what can be asked for, by name."""
BEAT_S = 2.0
SYNC_S = 1.0
TICK_S = 1.0
"""How often the keeper looks."""
MOST_ERRORS_BYTES = 1 << 20
_SPARE_BYTES = 64 << 10


def main(arguments: Sequence[str]) -> None:
    """Keep a worker: the job's folder, and the open file that is the board's lock."""
    folder, lock = Path(arguments[0]), int(arguments[1])
    os.set_inheritable(lock, False)
    settings = json.loads(read(str(folder / "job.json")))
    ends, held = os.pipe()  # the worker holds one end: the other one says when it is gone
    killed_before = _killed_for_memory()
    pid = os.fork()
    if pid == 0:
        os.close(ends)
        _be_the_worker(folder, float(settings["idle_s"]))  # the lock stays open in it, and ends with it
    os.close(held)
    sign(lock, dict(json.loads(os.pread(lock, 4096, 0)), pid=pid))
    os.close(lock)
    code = _kept(pid, ends, folder, float(settings["absent_s"]))
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # what it started and left
    memory = code == -signal.SIGKILL and _killed_for_memory() > killed_before
    with open(folder / "ended", "r+b") as file:
        file.write(json.dumps({"code": code, "memory": memory}).encode())


def _kept(pid: int, ends: int, folder: Path, absent_s: float) -> int:
    """Wait for the worker: its exit code, negative for a signal."""
    attendance = Attendance(folder)
    while True:
        gone = bool(select.select([ends], [], [], TICK_S)[0])
        found, status = os.waitpid(pid, 0 if gone else os.WNOHANG)
        if found:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        with open(folder / "errors", "r+b") as errors:
            if os.fstat(errors.fileno()).st_size > MOST_ERRORS_BYTES:
                errors.truncate(0)
        if attendance.absent_s() > absent_s:
            _say_alone(absent_s)
            os.killpg(pid, signal.SIGKILL)


def _say_alone(seconds: float) -> None:
    sys.stderr.write(f"nobody looked after it for {seconds:.0f} s\n")
    sys.stderr.flush()


def _killed_for_memory() -> int:
    """How many processes the system has ended since its start because memory was short."""
    found = re.search(r"^oom_kill (\d+)$", read("/proc/vmstat"), re.MULTILINE)
    return int(found.group(1)) if found else 0


class Attendance:
    """How long no agent has looked after a job: each changes the time of a file, which is no clock here."""

    def __init__(self, folder: Path) -> None:
        self._path, self._seen, self._since = folder / "seen", -1, 0.0
        self.absent_s()

    def absent_s(self) -> float:
        """Seconds since the last one did."""
        seen = self._path.stat().st_mtime_ns
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since


# --- the worker


def _be_the_worker(folder: Path, idle_s: float) -> NoReturn:
    code = 1
    try:
        os.setsid()
        os.umask(0o077)
        _work(folder, idle_s)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # what the keeper would do at its end is not for this process


def _work(folder: Path, idle_s: float) -> None:
    """Carry out steps until one is `end`, or nobody has looked for `idle_s` while there were none."""
    steps: dict[str, Step] = import_module(STEPS).STEPS
    journal = Journal(folder)
    attendance, state = Attendance(folder), State(folder, folder.parent.parent)
    journal.write({"ready": os.getpid()}, sync=True)
    with state.stack:
        for step in _steps(folder / "steps.jsonl"):
            if step is None:
                if attendance.absent_s() > idle_s:
                    _say_alone(idle_s)
                    return
            elif step["do"] == "end":
                return
            else:
                _carry_out(step, steps, state, journal)


def _steps(path: Path) -> Iterator[dict[str, Any] | None]:
    """Each step that was appended, None where there is none now."""
    pause_s, rest = 0.002, b""
    with open(path, "rb") as file:
        while True:
            rest += file.read()
            *lines, rest = rest.split(b"\n")
            for line in lines:
                pause_s = 0.002
                yield json.loads(line)
            if not lines:
                yield None
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.05)


def _carry_out(step: dict[str, Any], steps: dict[str, Step], state: State, journal: Journal) -> None:
    number = step["n"]

    def write(line: dict[str, Any]) -> None:
        journal.write({"step": number, **line}, sync="now" in line)

    with journal.beating():
        try:
            if step["do"] not in steps:
                raise PonasError(
                    f"it knows no step '{step['do']}': another version of ponas-deploy runs there."
                )
            end = {"step": number, "done": steps[step["do"]](state, step["details"], write)}
            text = journal.text(end)
        except Exception as error:
            text = journal.text({"step": number, "error": _described(error, state)})
    journal.append(text, sync=True)


def _described(error: Exception, state: State) -> dict[str, Any]:
    """An error as the host raises it again."""
    if isinstance(error, BackendError):
        return {"kind": "BackendError", "backend": error.backend, "text": error.reason}
    if isinstance(error, MemoryError):
        return {"kind": "MemoryError", "text": "ran out of memory"}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"kind": "PonasError", "text": f"{sentence(error, str(state.folder))}."}
    if isinstance(error, PonasError):
        kind = "MeasurementError" if isinstance(error, MeasurementError) else "PonasError"
        return {"kind": kind, "text": str(error)}
    return {"kind": "bug", "text": traceback.format_exc()}


class Journal:
    """Lines of JSON, whole or not at all, from any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / "journal.jsonl", "ab", buffering=0)  # noqa: SIM115 (open while this lives)
        self._spare = folder / "spare"
        self._spare.write_bytes(os.urandom(_SPARE_BYTES))  # room for the last lines on a full disk
        self._one_at_a_time = Lock()
        self._waiting = False
        self._synced = 0.0
        self._beats = 0

    def text(self, line: dict[str, Any]) -> bytes:
        """A line; PonasError for what is too long or no JSON."""
        text = json.dumps(line, allow_nan=False).encode() + b"\n"
        if len(text) > PIECE_BYTES:
            raise PonasError(f"a line of {len(text) >> 20} MiB is too long for the journal of a job.")
        return text

    def write(self, line: dict[str, Any], sync: bool = False) -> None:
        """Append a line, `sync`: onto the disk before this returns."""
        text = self.text(line)
        if self._file.tell() > MOST_JOURNAL_BYTES:
            raise PonasError(f"the journal of a job has over {MOST_JOURNAL_BYTES >> 20} MiB: start another.")
        self.append(text, sync)

    def append(self, text: bytes, sync: bool = False) -> None:
        """The same of a line that is text already."""
        with self._one_at_a_time:
            try:
                self._whole(text)
            except OSError:
                if not sync:
                    raise
                with suppress(FileNotFoundError):
                    self._spare.unlink()
                self._whole(text)
            self._waiting = True
            if sync or time.monotonic() - self._synced > SYNC_S:
                self._sync()

    def _whole(self, text: bytes) -> None:
        before, rest = os.fstat(self._file.fileno()).st_size, text
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            os.ftruncate(self._file.fileno(), before)
            raise

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._waiting, self._synced = False, time.monotonic()

    def beating(self) -> Beating:
        """Beats, and nothing that stays off the disk for long, as long as it is entered."""
        return Beating(self)

    def tick(self, beat: bool) -> None:
        """A beat, or only what is not on the disk yet."""
        if beat:
            self._beats += 1
            with suppress(OSError):  # a full disk: the step's own line says so
                self.append(self.text({"beat": self._beats}))
        with self._one_at_a_time:
            if self._waiting:
                self._sync()


class Beating:
    """A thread that beats while something runs."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._ended = journal, Event()
        self._thread = Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        ticks = 0
        while not self._ended.wait(SYNC_S):
            ticks += 1
            self._journal.tick(beat=ticks * SYNC_S % BEAT_S == 0)
