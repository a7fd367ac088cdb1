"""A board that is a process of this machine, with a home of its own and the steps of tests."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import pytest

from ponas_deploy.remote.pack import pack

STEPS = "ponas_deploy/remote/steps.py"


def archive_with_steps(source: bytes | None = None) -> bytes:
    """What is sent to a board, with other steps in the place of ours: those of tests, or of this source."""
    return archive_with(STEPS, source or (Path(__file__).parent / "board_steps.py").read_bytes())


def archive_with(name: str, source: bytes) -> bytes:
    """What is sent to a board, with this source in the place of a file of ours."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pack())) as ours, zipfile.ZipFile(made, "w") as archive:
        for entry in ours.infolist():
            if entry.filename != name:
                archive.writestr(entry, ours.read(entry))
        archive.writestr(zipfile.ZipInfo(name), source)
    return made.getvalue()


@dataclass(frozen=True)
class Place:
    """A board's private folder, where it can be read."""

    folder: Path

    def holder(self) -> dict[str, object]:
        """What the lock says."""
        return dict(json.loads((self.folder / "lock").read_text()))

    @property
    def worker(self) -> int:
        """The process that carries out steps."""
        return int(str(self.holder()["pid"]))

    def is_free(self) -> bool:
        """Whether nobody holds the lock."""
        import fcntl

        with (self.folder / "lock").open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def jobs(self) -> list[str]:
        """The folders of jobs."""
        return sorted(os.listdir(self.folder / "jobs"))

    def processes(self) -> list[str]:
        """What runs from here: workers, their keepers, agents, and what they started."""
        listed = subprocess.run(["ps", "-eo", "stat=,pid=,args="], capture_output=True, text=True, check=True)
        found = []
        for line in listed.stdout.splitlines():
            state, pid, words = line.split(None, 2)
            if not state.startswith("Z") and (str(self.folder) in words or self._in_it(pid)):
                found.append(line)
        return found

    def _in_it(self, pid: str) -> bool:
        try:
            return os.readlink(f"/proc/{pid}/cwd").startswith(str(self.folder))
        except OSError:
            return False


def becomes(what: Callable[[], object], seconds: float = 20) -> bool:
    """Wait until something holds; False when it never did."""
    deadline = monotonic() + seconds
    while not what():
        if monotonic() > deadline:
            return False
        sleep(0.02)
    return True


_HOST = """
import sys
sys.path[:0] = {path!r}
from local_board import archive_with_steps
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.remote import job as jobs
archive = archive_with_steps()
jobs.pack = lambda: archive
step, jobs.ABSENT_S, python, host = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4:]
board = Board(host=host[0], python=python) if host else Board(command=(), python=python)
with jobs.job_on(Entry("board", board), title="host", idle_s=1) as job:
    print(job.id, flush=True)
    job.do(step, lambda line: print(line, flush=True), lines=10, pause_s=0.1, seconds=1000)
    print("done", flush=True)
    input()
"""


@dataclass(frozen=True)
class Host:
    """A process of its own that has a job."""

    process: subprocess.Popen[str]
    job: str

    def kill(self) -> None:
        """As the system does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def host(step: str, *board: str, absent_s: float = 600) -> Iterator[Host]:
    """Another host with a step that wrote its first line; the board is its Python, and its address if any."""
    path = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    words = [sys.executable, "-c", _HOST.format(path=path), step, str(absent_s), *board]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            job = process.stdout.readline().strip()
            assert "step" in process.stdout.readline()
            yield Host(process, job)
        finally:
            process.kill()


def refuse_without_namespaces() -> None:
    """Skip a test where no other files can be put in the place of the system's."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("files of the system are covered by others as root on Linux alone")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount in a namespace of its own")


def masked(folder: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """The words before a command that sees these files in the place of the system's, by their paths."""
    lines = ["set -e"]
    for number, (path, text) in enumerate(files.items()):
        cover = folder / f"cover{number}"
        cover.write_text(text)
        if not Path(path).exists():
            parent = next(one for one in Path(path).parents if one.exists())
            made = Path(path).parent
            lines += [f"mount -t tmpfs none {parent}", f"mkdir -p {made}", f"touch {path}"]
        lines.append(f"mount --bind {cover} {path}")
    script = folder / "masked.sh"
    script.write_text("\n".join([*lines, 'exec "$@"', ""]))
    return ("unshare", "-m", "sh", str(script))
