"""A job on a board that is a process of this machine: what it does, and what may happen to it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from local_board import Place, archive_with_steps, becomes, host

from ponas_deploy.boards import runner
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.boards.link import BoardError, connected
from ponas_deploy.errors import BackendError, FileFormatError, MeasurementError, PonasError
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import Advance, transfer_bar
from ponas_deploy.remote import job as jobs
from ponas_deploy.remote import lasting_link
from ponas_deploy.remote.answers import BoardBusyError, WorkerEnded
from ponas_deploy.remote.job import Job, job_on

HERE = Entry("here", Board(command=(), python=sys.executable))
ARCHIVE = archive_with_steps()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The board's folder; at the end nothing runs there, and nobody holds its lock."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(jobs, "pack", lambda: ARCHIVE)
    place = Place(tmp_path / ".cache" / "ponas")
    yield place
    if (place.folder / "lock").exists():
        assert becomes(place.is_free)
    assert becomes(lambda: not place.processes()), place.processes()


def agent_of(job: Job) -> int:
    """The process that carries the connection."""
    link = job._link._link
    assert link is not None
    return link._process.pid


def test_lines_come_once_and_in_order_and_nothing_stays(place: Place) -> None:
    lines: list[Mapping[str, Any]] = []
    with job_on(HERE, title="test") as job:
        assert job.do("echo", text="Grüße", number=[1, 2.5, None]) == {
            "text": "Grüße",
            "number": [1, 2.5, None],
        }
        assert job.do("count", lines.append, lines=500, pause_s=0) == 0
        assert job.do("count", lines=1, pause_s=0) == 1, "another worker"
        assert stat.S_IMODE((place.folder / "jobs" / job.id / "journal.jsonl").stat().st_mode) == 0o600
    assert lines == [{"step": 2, "number": number} for number in range(500)]
    assert place.jobs() == []


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_other_pythons_carry_out_steps(place: Place, version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"there is no python{version}")
    lines: list[Mapping[str, Any]] = []
    with job_on(Entry("old", Board(command=(), python=python)), title="test") as job:
        (sha,) = job.put([b"one"])
        assert job.do("size_of", sha=sha) == 3
        assert job.do("count", lines.append, lines=10, pause_s=0.01) == 0
        assert job.fetch(job.do("keep", text="kept")) == b"kept"
        with pytest.raises(WorkerEnded, match="killed by signal 9"):
            job.do("build", lambda line: os.kill(place.worker, signal.SIGKILL), seconds=1000)
    assert len(lines) == 10


def test_only_what_is_lacking_is_sent(place: Place) -> None:
    contents = [random.Random(seed).randbytes(200_000) for seed in range(3)]
    with job_on(HERE, title="test") as job:
        before = job.sent_bytes
        shas = job.put([*contents, contents[0]])
        assert len(set(shas)) == 3
        assert 600_000 < job.sent_bytes - before < 601_000
        before = job.sent_bytes
        assert job.put(contents) == shas[:3]
        assert job.sent_bytes - before < 500
        assert job.do("size_of", sha=shas[1]) == 200_000
        assert job.fetch(shas[2]) == contents[2]
        assert job.received_bytes > 200_000
        kept = place.folder / "blobs" / shas[0]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with job_on(HERE, title="test") as job:
        before = job.sent_bytes
        job.put([*contents, b"new"])
        assert job.sent_bytes - before < 1000
        assert job.sent_bytes < 20_000, "the archive or the runner was sent again"


def test_what_files_have_in_common_is_sent_once() -> None:
    one = random.Random(0).randbytes(100_000)
    with job_on(HERE, title="test") as job:
        before = job.sent_bytes
        shas = job.put([one, one[:50_000] + b"and" + one[50_000:], b"", b"x"])
        assert job.sent_bytes - before < 110_000
        assert [job.do("size_of", sha=sha) for sha in shas] == [100_000, 100_003, 0, 1]


def test_what_a_small_disk_did_not_keep_is_sent_again(place: Place) -> None:
    with job_on(HERE, title="test") as job:
        (sha,) = job.put([b"one"])
        (place.folder / "blobs" / sha).unlink()
        assert job.put([b"one"]) == (sha,)
        assert job.do("size_of", sha=sha) == 3


def test_what_a_step_kept_comes_back(place: Place) -> None:
    with job_on(HERE, title="test") as job:
        large = random.Random(0).randbytes(5_000_000)
        (sha,) = job.put([large])
        assert job.fetch(sha) == large
        assert job.fetch(job.do("keep", text="kept")) == b"kept"


def test_a_connection_that_ends_loses_no_line_and_doubles_none() -> None:
    lines, notes = list[Mapping[str, Any]](), list[str]()
    with job_on(HERE, title="test", on_note=notes.append) as job:
        workers = [job.do("count", lines=0, pause_s=0)]
        for cut_s in (0.0, 0.1, 0.7):
            cut = Timer(cut_s, os.kill, (agent_of(job), signal.SIGKILL))
            cut.start()
            workers.append(job.do("count", lines.append, lines=100, pause_s=0.01))
            cut.join()
    assert workers == [0, 1, 2, 3]
    assert [line["number"] for line in lines] == [*range(100)] * 3
    assert sum("Connecting again" in note for note in notes) == 3


def test_a_connection_that_says_nothing_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ANSWER_S", 1.0)
    monkeypatch.setattr(jobs, "FOLLOW_S", 0.2)
    lines, notes = list[Mapping[str, Any]](), list[str]()
    with job_on(HERE, title="test", on_note=notes.append) as job:
        os.kill(agent_of(job), signal.SIGSTOP)
        job.do("count", lines.append, lines=10, pause_s=0.01)
    assert [line["number"] for line in lines] == [*range(10)]
    assert notes[0] == "here: gave no answer for 1 s. Connecting again."


def test_an_agent_that_nobody_asks_ends(tmp_path: Path) -> None:
    code = "from ponas_deploy.boards import runner; runner.ALONE_S = 1; runner.serve(input, print, '')"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.wait(60) == -signal.SIGALRM


def test_a_connection_that_ends_between_steps_is_made_anew() -> None:
    with job_on(HERE, title="test") as job:
        os.kill(agent_of(job), signal.SIGKILL)
        (sha,) = job.put([b"x" * 1000])
        os.kill(agent_of(job), signal.SIGKILL)
        assert job.fetch(sha) == b"x" * 1000


def test_a_killed_worker_is_told_with_what_it_was_doing(place: Place) -> None:

    def kill(line: Mapping[str, Any]) -> None:
        assert any("sleep 1000" in process for process in place.processes())
        os.kill(place.worker, signal.SIGKILL)

    with pytest.raises(WorkerEnded) as raised, job_on(HERE, title="test") as job:
        job.do("build", kill, seconds=1000)
    assert raised.value.now == "building block X"
    assert str(raised.value) == "here: its worker was killed by signal 9, SIGKILL while building block X."
    assert place.jobs() == []


def test_a_restart_of_the_board_is_recognised(place: Place) -> None:
    def restart(line: Mapping[str, Any]) -> None:
        settings = place.folder / "jobs" / job.id / "job.json"
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "boot_id": "another"}))
        os.kill(place.worker, signal.SIGKILL)

    with pytest.raises(WorkerEnded, match="was ended by a restart"), job_on(HERE, title="test") as job:
        job.do("build", restart, seconds=1000)


def test_a_silent_step_beats_and_a_stopped_worker_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "FOLLOW_S", 0.1)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        os.kill(place.worker, signal.SIGCONT)

    with job_on(HERE, title="test", on_note=note) as job:
        job.do("count", lines=1, pause_s=2.5)
        assert notes == []
        assert '{"beat": 1}' in (place.folder / "jobs" / job.id / "journal.jsonl").read_text().splitlines()
        monkeypatch.setattr(jobs, "SILENT_S", 0.5)
        os.kill(place.worker, signal.SIGSTOP)
        assert job.do("echo") == {}
    assert notes[0] == "here: its worker gave no output for 0 s while step echo was to begin."


def test_a_board_that_is_not_there_is_said_at_once() -> None:
    notes: list[str] = []
    gone = Entry("gone", Board(command=("/nowhere/ssh",)))
    with pytest.raises(BoardError, match="cannot be started"), job_on(gone, title="t", on_note=notes.append):
        pass
    assert notes == []


def test_a_step_without_end_is_ended_when_the_job_is_left(place: Place) -> None:
    with pytest.raises(ZeroDivisionError), job_on(HERE, title="test") as job:
        job.do("build", lambda line: 1 // 0, seconds=1000)
    assert place.is_free()
    assert place.jobs() == []


def test_without_its_keeper_a_worker_is_told_too(place: Place) -> None:

    def kill(line: Mapping[str, Any]) -> None:
        worker = place.worker
        parent = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), signal.SIGKILL)
        os.killpg(worker, signal.SIGKILL)

    with pytest.raises(WorkerEnded, match="ended, and what kept it did too"), job_on(HERE, title="t") as job:
        job.do("build", kill, seconds=1000)


@pytest.mark.parametrize(("step", "absent_s"), [("count", 600), ("build", 1)])
def test_a_worker_whose_host_is_gone_ends_by_itself(place: Place, step: str, absent_s: float) -> None:
    with host(step, sys.executable, absent_s=absent_s) as other:
        assert not place.is_free()
        other.kill()
    assert becomes(place.is_free)
    assert becomes(lambda: not place.processes()), place.processes()
    with job_on(HERE, title="next") as job:
        assert len(place.jobs()) == 2, "what it wrote can still be read"
        errors = place.folder / "jobs" / other.job / "errors"
        assert "nobody looked after it for 1 s" in errors.read_text()
        assert job.do("echo") == {}


def test_a_host_that_thinks_keeps_its_worker(place: Place) -> None:
    with job_on(HERE, title="test", idle_s=0.4) as job:
        assert not becomes(place.is_free, 1.5)
        assert job.do("count", lines=0, pause_s=0) == 0


def test_ctrl_c_ends_the_worker_at_once(place: Place) -> None:
    with host("build", sys.executable) as other:
        assert place.processes()
        other.process.send_signal(signal.SIGINT)
        assert other.process.wait(60) == -signal.SIGINT
    assert place.is_free()
    assert place.jobs() == []


def test_a_second_job_is_told_who_has_the_board(place: Place) -> None:
    with job_on(HERE, title="ponas \x1b[31mprofile") as job:
        busy = pytest.raises(BoardBusyError, match=r"\S+@\S+ has been measuring there for \d+ s")
        with busy as raised, job_on(HERE, title="another"):
            pass
        assert raised.value.job == job.id
        assert raised.value.title == r"ponas \x1b[31mprofile"
        assert job.do("echo", still="here") == {"still": "here"}
    with job_on(HERE, title="another") as job:
        assert job.do("echo") == {}


def test_two_hosts_do_not_give_steps_to_one_job() -> None:
    step = json.dumps({"n": 1, "key": "another", "do": "echo", "details": {}})
    with job_on(HERE, title="one") as job, connected(HERE) as link:
        job.do("echo")
        asked = {"job": job.id, "n": 1, "offset": 0, "wait_s": 0, "step": step, "blobs": [], "fetch": False}
        with pytest.raises(BoardError, match="somebody else gives steps"):
            link.exchange("follow", dict, pieces=1, sent=False, **asked)


@pytest.mark.parametrize(
    ("kind", "raised", "text"),
    [
        ("BackendError", BackendError, "^faulty: does not like it$"),
        ("MeasurementError", MeasurementError, "^too noisy$"),
        ("PonasError", PonasError, r"^no \\x1b\[31mway$"),
        ("MemoryError", MeasurementError, "^here: ran out of memory while"),
        ("bug", RuntimeError, r"(?s)on the board here:\nTraceback.*ZeroDivisionError: a bug of ours"),
    ],
)
def test_errors_of_steps_are_raised_here(kind: str, raised: type[Exception], text: str) -> None:
    with job_on(HERE, title="test") as job:
        with pytest.raises(raised, match=text):
            job.do("fail", kind=kind)
        assert job.do("echo") == {}, "a step that fails ends nothing else"
        with pytest.raises(PonasError, match="knows no step 'fly'"):
            job.do("fly")
        with pytest.raises(RuntimeError, match="Out of range float"):
            job.do("no_json")


@pytest.mark.parametrize(
    ("text", "times", "reason"),
    [
        ("garbage\n", 1, "not valid JSON"),
        ("[1]\n", 1, "something else"),
        ('{"step": 7}\n', 1, "was not given"),
        ('{"step": true}\n', 1, "was not given"),
        ('{"step": 1, "value": NaN}\n', 1, "finite"),
        ('{"step": 1, "error": "x"}\n', 1, "expected"),
        ("[" * 100_000 + "\n", 1, "nested|JSON"),
        ("x" * 1000, 5000, "too long"),
    ],
)
def test_a_journal_that_is_none_is_refused(text: str, times: int, reason: str) -> None:
    with pytest.raises((BoardError, FileFormatError), match=reason), job_on(HERE, title="test") as job:
        job.do("raw", text=text, times=times, seconds=30)


def test_a_journal_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_JOURNAL_BYTES", 100_000 - jobs.PIECE_BYTES)
    with pytest.raises(BoardError, match="its journal has over"), job_on(HERE, title="test") as job:
        job.do("fill")


def test_a_text_of_any_length_is_not_taken() -> None:
    with job_on(HERE, title="test") as job:
        assert job.do("echo", text="x" * 10_000) == {"text": "x" * 10_000}
        with pytest.raises(FileFormatError, match="a text of over 10,000 characters"):
            job.do("echo", of=[{"text": "x" * 10_001}])


def test_bytes_that_travel_move_a_bar() -> None:
    moved, large = list[tuple[int, int, str]](), random.Random(0).randbytes(3 << 20)

    @contextmanager
    def bar() -> Iterator[Advance]:
        yield lambda done, total, text: moved.append((done, total, text))

    before = transfer_bar.set(bar)
    try:
        with job_on(HERE, title="test") as job:
            moved.clear()
            (sha,) = job.put([large])
            assert {text for _, _, text in moved} == {"sending to here (KiB)"}
            assert [moved[0][:2], moved[-1][:2]] == [(0, 3072), (3072, 3072)]
            assert len(moved) > 12, "it does not move"
            moved.clear()
            job.fetch(sha)
            assert moved == [(done, 3072, "fetching from here (KiB)") for done in (1024, 2048, 3072)]
    finally:
        transfer_bar.reset(before)


def test_escape_codes_in_a_journal_can_be_printed() -> None:
    lines: list[Mapping[str, Any]] = []
    with job_on(HERE, title="test") as job:
        hostile = '{"step": 1, "now": "\\u001b]0;owned", "of": [{"\\u202e": "\\n"}]}\n'
        job.do("raw", lines.append, text=hostile)
        assert job._now == "\\x1b]0;owned"
    assert lines == [{"step": 1, "now": "\\x1b]0;owned", "of": [{"\\u202e": "\\n"}]}]


def test_a_file_that_is_another_one_is_refused(place: Place) -> None:
    with job_on(HERE, title="test") as job:
        sha, other = job.put([b"one", b"two"])
        for name in (sha, other):
            (place.folder / "blobs" / name).write_bytes(b"another")
        with pytest.raises(BoardError, match="came as another one"):
            job.fetch(sha)
        with pytest.raises(PonasError, match="was damaged"):
            job.do("size_of", sha=other)
        with pytest.raises(BoardError, match="has no file"):
            job.fetch("0" * 64)
        with pytest.raises(BoardError, match="no SHA-256"):
            job.fetch("../lock")
        with pytest.raises(PonasError, match="not on the board"):
            job.do("size_of", sha="0" * 64)


def test_a_worker_that_cannot_start_is_a_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("ponas_deploy/__init__.py", "ponas_deploy/remote/__init__.py"):
            archive.writestr(name, "")
        archive.writestr("ponas_deploy/remote/worker.py", "raise ImportError('no such library')")
    monkeypatch.setattr(jobs, "pack", made.getvalue)
    reason = r"its worker did not start \(ImportError: no such library\)"
    with pytest.raises(BoardError, match=reason), job_on(HERE, title="test"):
        pass
    assert place.jobs() == []


def test_a_board_that_stays_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(lasting_link, "RECONNECT_S", 0.5)
    with job_on(HERE, title="test", idle_s=1, on_note=notes.append) as job:
        job._link._entry = Entry("here", Board(command=("/nowhere/ssh",)))
        os.kill(agent_of(job), signal.SIGKILL)
        with pytest.raises(BoardError, match="cannot be started"):
            job.do("echo")
    assert "Connecting again" in notes[0]


@pytest.fixture
def small_disk(place: Place) -> Iterator[Place]:
    """The board's folder on a disk of 4 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a full disk needs Linux and root, to mount a small one")
    place.folder.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(place.folder)]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
        assert becomes(lambda: not place.processes()), place.processes()
    finally:
        subprocess.run(["umount", "-l", str(place.folder)], check=True)


def test_a_full_disk_is_a_sentence(small_disk: Place) -> None:
    with job_on(HERE, title="test") as job:
        (sha,) = job.put([b"small"])
        with pytest.raises(BoardError, match=r"files of 1\.9 MiB do not fit in 0\.\d MiB"):
            job.put([random.Random(0).randbytes(2_000_000)])
        with pytest.raises(PonasError, match="no room is left on its disk: make some"):
            job.do("fill")
        assert job.fetch(sha) == b"small"
        filler = small_disk.folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(BoardError, match=r"do not fit|no room is left"):
            job.put([b"new" * 50_000])
        with pytest.raises(BoardError, match="no room is left"):
            job.do("echo", text="x" * 100_000)
        filler.unlink()
        assert job.do("echo", text="x") == {"text": "x"}
        assert not [name for name in os.listdir(small_disk.folder / "blobs") if len(name) != 64]
        job.put([b"new"])


def test_files_are_bounded_and_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_KEPT_BYTES", 1000)
    folder = str(tmp_path)
    shas = []
    for number in range(3):
        runner.make_room(folder, 300)
        shas.append(runner.keep(folder, [bytes([number]) * 300]))
        os.utime(tmp_path / "blobs" / shas[-1], (number, number))
    assert runner.lacks({"shas": shas}, folder) == {"lacks": []}
    os.utime(tmp_path / "blobs" / shas[0], (9, 9))
    os.utime(tmp_path / "blobs" / shas[1], (5, 5))
    os.utime(tmp_path / "blobs" / shas[2], (7, 7))
    runner.make_room(folder, 400)
    assert runner.lacks({"shas": shas}, folder) == {"lacks": [shas[1]]}
    os.utime(tmp_path / "blobs" / shas[0], (9, 9))
    os.utime(tmp_path / "blobs" / shas[2], (7, 7))
    runner.make_room(folder, 700, [shas[2]])
    assert runner.lacks({"shas": shas}, folder) == {"lacks": shas[:2]}
    with pytest.raises(runner.RefusedError, match="do not fit"):
        runner.make_room(folder, 1001)


def test_what_dead_workers_left_is_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        old = place.folder / "jobs" / f"{number:016x}"
        old.mkdir(parents=True)
        if number < 5:
            os.utime(old, (0, 0))
    (place.folder / "jobs" / f"{29:016x}" / "journal.jsonl").write_text("")
    with job_on(HERE, title="test") as job:
        assert 10 < len(place.jobs()) <= 1 + runner.MOST_DEAD_JOBS
        assert job.id in place.jobs()
        assert not {f"{number:016x}" for number in range(5)} & set(place.jobs())


def test_what_a_killed_host_left_is_ended_by_the_next_one(place: Place) -> None:
    notes = list[str]()
    with host("count", sys.executable) as other:
        with pytest.raises(BoardBusyError), job_on(HERE, title="another"):
            pass
        other.kill()
        with job_on(HERE, title="another", on_note=notes.append) as job:
            assert job.do("echo") == {}
    assert notes == ["here: what an earlier command left running there is ended."]
    assert not list((home() / "jobs").iterdir())


def test_what_others_have_is_left_to_them(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with host("build", sys.executable, absent_s=10) as other:
        other.kill()
        monkeypatch.setenv("PONAS_HOME", str(place.folder / "another store"))
        with pytest.raises(BoardBusyError), job_on(HERE, title="another"):
            pass
        assert not place.is_free()


def test_a_step_that_hangs_while_a_thread_beats_ends_the_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "FOLLOW_S", 0.1)
    with job_on(HERE, title="test") as job:
        with pytest.raises(WorkerEnded, match="its worker gave no output for 4 s while building block X"):
            job.do("build", no_output_s=3.5, seconds=1000)
        beats = (place.folder / "jobs" / job.id / "journal.jsonl").read_text()
        assert '{"beat": 1}' in beats.splitlines()
        assert place.worker > 1
    assert place.is_free(), "it was waited for"


def test_no_step_is_tried_after_the_worker_is_gone(place: Place) -> None:
    with job_on(HERE, title="test") as job:
        with pytest.raises(WorkerEnded, match="while building block X"):
            job.do("build", lambda line: os.kill(place.worker, signal.SIGKILL), seconds=1000)
        for again in (partial(job.do, "echo"), partial(job.put, [b"x"]), partial(job.fetch, "0" * 64)):
            with pytest.raises(WorkerEnded, match="while building block X"):
                again()


def test_a_board_out_of_reach_is_tried_often_and_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(lasting_link, "RECONNECT_S", 1.5)
    monkeypatch.setattr(lasting_link, "_LONGEST_PAUSE_S", 0.02)
    with job_on(HERE, title="test", idle_s=1, on_note=notes.append) as job:
        job._link._entry = Entry("here", Board(command=("/nowhere/ssh",)))
        os.kill(agent_of(job), signal.SIGKILL)
        with pytest.raises(BoardError, match="cannot be started"):
            job.do("echo")
        assert len(notes) > 5
        notes.clear()
        with pytest.raises(BoardError, match="cannot be started"):
            job.do("close")
    assert notes == []
