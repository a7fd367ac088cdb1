"""A board that lies: what it answers is refused in a sentence, and nothing of it is run or written elsewhere.

It is a process of this machine whose worker says whatever a test wrote into a file.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_board import Place, archive_with_steps, becomes

from ponas_deploy.backends import RunSettings
from ponas_deploy.boards import bootstrap, link
from ponas_deploy.boards.book import Board, Entry
from ponas_deploy.boards.bootstrap import runner_source
from ponas_deploy.boards.link import BoardError
from ponas_deploy.errors import FileFormatError
from ponas_deploy.measuring.contention import CoreReading
from ponas_deploy.measuring.engine_process import Timed
from ponas_deploy.measuring.interference import take_snapshot
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.remote import job as jobs
from ponas_deploy.remote import lasting_link
from ponas_deploy.remote import place as places
from ponas_deploy.remote import session as sessions
from ponas_deploy.remote.job import Job, job_on
from ponas_deploy.remote.pack import pack
from ponas_deploy.remote.place import BoardPlace, place_on
from ponas_deploy.remote.rounds import Models, Rounds
from ponas_deploy.remote.session import BoardSession

HERE = Entry("here", Board(command=(), python=sys.executable))
STEPS = b"""
import json

def lie(state, details, write):
    said = json.loads((state.folder.parent.parent / "lie").read_text())
    for line in said["lines"]:
        write(line)
    return said["done"]

NAMES = "about uncaptured look open round close build take open_engine run time_runs layers"
STEPS = dict.fromkeys(NAMES.split(), lie)
"""
SNAPSHOT = json.loads(json.dumps(asdict(take_snapshot())))
FIRST = {"first": "stem", "runs": 3, "ns": 10.5, "visit_s": 0.0, "launch_ns": 0}
IMAGES = np.ones((2, 3, 4, 4), np.float32)


class Liar:
    """A board, and what it says from now on."""

    def __init__(self, place: BoardPlace, folder: Path) -> None:
        self.place, self.folder = place, folder

    def says(self, done: Any, *lines: Any) -> None:
        """What the next steps write, and what they return."""
        (self.folder / "lie").write_text(json.dumps({"done": done, "lines": lines}))

    def kept(self, content: bytes) -> str:
        """A file of the board."""
        sha = sha256(content).hexdigest()
        (self.folder / "blobs").mkdir(exist_ok=True)
        (self.folder / "blobs" / sha).write_bytes(content)
        return sha


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PONAS_HOME", str(home / "store"))
        patch.delenv("XDG_RUNTIME_DIR", raising=False)
        archive = archive_with_steps(STEPS)
        patch.setattr(jobs, "pack", lambda: archive)
        with place_on(HERE, "test") as place:
            yield Liar(place, home / ".cache" / "ponas")
        there = Place(home / ".cache" / "ponas")
        assert becomes(lambda: not there.processes())


def models(board: Liar) -> Models:
    return Models(board.place, "fake", RunSettings(), Plan())


def about(board: Liar) -> Any:
    return board.place.about()


def look(board: Liar) -> Any:
    return models(board).look()


def built(board: Liar) -> Any:
    seen: list[tuple[str, float]] = []
    found = models(board).build(
        {"stem": lambda: b""}, lambda key, s: seen.append((key, s)), lambda now: None, one_at_a_time=True
    )
    assert seen
    return found["stem"]


def taken_round(board: Liar) -> Any:
    samples = Samples()
    there = Rounds(models(board), {"stem": 3}, samples)
    there.round(["stem"], 0, Plan(), 0.0, quiet=True)
    assert samples.has("stem", 0)
    return there


def timed(board: Liar) -> Any:
    engine = board.folder / "engine.onnx"
    engine.write_bytes(b"engine")
    return board.place.take(Timed(engine, "fake", RunSettings()))


def session(board: Liar) -> BoardSession:
    return BoardSession(board.place, "fake", "open-0", RunSettings())


def runs(board: Liar) -> Any:
    return session(board).time_ns(3)


def layers(board: Liar) -> Any:
    return session(board).layer_times_ms()


def opened(board: Liar) -> Any:
    return board.place.session("fake", RunSettings(), model="")


Ask = Callable[[Liar], Any]
TRUE: dict[Ask, tuple[Any, list[dict[str, Any]]]] = {
    about: (
        {
            "machine": [["processor", "one"]],
            "name": "one",
            "cores": 4,
            "conditions": [],
            "available_mib": 100,
            "threads_fault": "",
            "runtimes": [],
        },
        [],
    ),
    look: (SNAPSHOT, []),
    built: ({}, [{"now": "building stem"}, {"built": "stem", "s": 0.1}, FIRST]),
    taken_round: (
        {"before": SNAPSHOT, "after": SNAPSHOT, "redone": 0},
        [{"samples": [["stem", 10.5]]}],
    ),
    timed: (
        {
            "taken": {"runs_ns": [10, 11], "core": asdict(CoreReading()), "reference_ns": [4, 5]},
            "before": SNAPSHOT,
            "after": SNAPSHOT,
        },
        [],
    ),
    runs: (10, []),
    layers: ([["conv", 0.1]], []),
    opened: (asdict(RunSettings()), []),
}
"""What a board says when it does not lie, by what is asked of it."""
TEXT, NEGATIVE, IMMENSE, NOTHING = "text", -1, 10**400, None
LONG = "x" * 10_001


def changed(ask: Ask, path: str, value: Any) -> tuple[Any, list[Any]]:
    """A true answer with one value in another's place: `lines.0.samples`, `done.after.counters.cores`."""
    done, lines = deepcopy(TRUE[ask])
    whole = {"done": done, "lines": lines}
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inner: Any = whole
    for step in way:
        inner = inner[step]
    inner[last] = value
    return whole["done"], lines


@pytest.mark.parametrize("ask", TRUE)
def test_the_truth_is_taken(board: Liar, ask: Ask) -> None:
    done, lines = TRUE[ask]
    board.says(done, *lines)
    ask(board)


@pytest.mark.parametrize("value", [TEXT, NEGATIVE, IMMENSE, NOTHING, [], 1e300])
@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (about, "done"),
        (about, "done.cores"),
        (about, "done.available_mib"),
        (about, "done.machine.0"),
        (about, "done.runtimes.0"),
        (look, "done.counters.cores"),
        (look, "done.gpu"),
        (built, "lines.1.s"),
        (built, "lines.1.built"),
        (built, "lines.2.first"),
        (built, "lines.2.runs"),
        (built, "lines.2.ns"),
        (built, "lines.2.visit_s"),
        (built, "lines.2.launch_ns"),
        (taken_round, "done"),
        (taken_round, "done.redone"),
        (taken_round, "done.after.counters.cores"),
        (taken_round, "lines.0.samples.0.0"),
        (taken_round, "lines.0.samples.0.1"),
        (timed, "done.taken.runs_ns.0"),
        (timed, "done.taken.reference_ns.0"),
        (timed, "done.before.counters.cores"),
        (runs, "done"),
        (layers, "done.0.1"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_answers_that_cannot_be_are_refused(board: Liar, ask: Ask, path: str, value: Any) -> None:
    if path == "done.runtimes.0":
        done, lines = changed(about, "done.runtimes", [value])
    else:
        done, lines = changed(ask, path, value)
    board.says(done, *lines)
    if ask is built and path == "lines.1.built":
        refused = (AssertionError, FileFormatError)  # of another model than was asked for: it counts for none
        with pytest.raises(refused):
            ask(board)
    else:
        with pytest.raises((BoardError, FileFormatError)):
            ask(board)


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (about, "done.name"),
        (about, "done.threads_fault"),
        (opened, "done.precision"),
        (built, "lines.0.now"),
        (timed, "done.taken"),
        (layers, "done.0.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_texts_of_any_length_are_refused(board: Liar, ask: Ask, path: str) -> None:
    done, lines = changed(ask, path, LONG)
    board.says(done, *lines)
    with pytest.raises(FileFormatError, match="a text of over 10,000 characters"):
        ask(board)


def test_files_of_any_size_are_refused(board: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_MOST_OUTPUTS_BYTES", 400)
    board.says(board.kept(saved(IMAGES)))
    with pytest.raises(BoardError, match="has more than"):
        session(board).run(IMAGES)
    monkeypatch.setattr(places, "MOST_FETCHED_BYTES", 10)
    (tmp_path / "model.onnx").write_bytes(b"")
    board.says([[name, board.kept(b"engine")] for name in ("engine.one", "engine.two")])
    with pytest.raises(BoardError, match="has more than"):
        board.place.build(tmp_path / "model.onnx", "fake", RunSettings(), None, None)


def test_samples_that_were_not_asked_for_are_refused(board: Liar) -> None:
    board.says(*changed(taken_round, "lines.0.samples", [["head", 1.0]])[:1], {"samples": [["head", 1.0]]})
    with pytest.raises(BoardError, match="not asked for"):
        taken_round(board)


def test_a_round_that_says_nothing_of_a_model_is_refused(board: Liar) -> None:
    board.says(TRUE[taken_round][0])
    with pytest.raises(BoardError, match="tells nothing of stem in round 0"):
        taken_round(board)


def test_all_rounds_together_redo_no_more_than_is_allowed(
    board: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, done, lines = list[float](), *changed(taken_round, "done.redone", 2)
    board.says(done, *lines)
    do = Job.do
    monkeypatch.setattr(
        Job, "do", lambda *given, **more: (left.append(more["allowed_redos"]), do(*given, **more))[1]
    )
    there = Rounds(models(board), {"stem": 3}, Samples(), "stem")
    for number in range(3):
        there.round(["stem"], number, Plan(), 3.0, quiet=True)
    assert left == [3.0, 1.0, 0.0]


def test_an_engine_has_a_few_files(board: Liar, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    board.says([[f"engine.{number}", board.kept(b"engine")] for number in range(9)])
    with pytest.raises(BoardError, match="other files of an engine"):
        board.place.build(tmp_path / "model.onnx", "fake", RunSettings(), None, None)


@pytest.mark.parametrize(
    "name", ["../x", "engine.x/../../x", "/etc/x", "x", "..", "", "engine.x/", "./engine.x", "model.onnx"]
)
def test_files_of_an_engine_stay_in_their_folder(board: Liar, tmp_path: Path, name: str) -> None:
    model = tmp_path / "inner" / "model.onnx"
    model.parent.mkdir()
    model.write_bytes(b"model")
    sha = board.kept(b"owned")
    board.says([["engine.onnx", sha], [name, sha]])
    with pytest.raises(BoardError, match="other files of an engine"):
        board.place.build(model, "fake", RunSettings(), None, None)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["model.onnx"]
    assert model.read_bytes() == b"model"


def test_what_a_file_name_hides_is_shown(board: Liar, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    board.says([["engine.\0x\x1b[31m\u202e", board.kept(b"engine")]])
    engine = board.place.build(tmp_path / "model.onnx", "fake", RunSettings(), None, None)
    assert engine == tmp_path / r"engine.\x00x\x1b[31m\u202e"
    assert engine.read_bytes() == b"engine"


class Trap:
    """What is run where a pickle of it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trap"),))


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("outputs.npy", saved(IMAGES))
    return file.getvalue()


LARGE = saved(IMAGES).replace(b"(2, 3, 4, 4), }      ", b"(2, 9999999999999), }")


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Trap()),
        saved(np.array([Trap(), Trap()], dtype=object)),
        zipped(),
        saved(IMAGES)[:-1],
        LARGE,
        saved(IMAGES[:1]),
        saved(np.float32(1)),
        saved(IMAGES.astype(np.float64)),
        b"",
    ],
    ids=["pickle", "objects", "zip", "half", "large", "fewer", "scalar", "doubles", "empty"],
)
def test_outputs_are_an_array_and_nothing_else(
    board: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    board.says(board.kept(content))
    with pytest.raises(BoardError, match=r"outputs|came as another"):
        session(board).run(IMAGES)
    assert not Path("trap").exists()
    board.says(board.kept(saved(IMAGES)))
    assert np.array_equal(session(board).run(IMAGES), IMAGES)


def test_a_board_reads_no_pickle_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: bytes
) -> None:
    monkeypatch.setattr(jobs, "pack", pack)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with place_on(HERE, "test") as place:
        opened = place.backend("fake").load(model, RunSettings())
        assert isinstance(opened, BoardSession)
        (sha,) = place.job.put([saved(np.array([Trap()], dtype=object))])
        with pytest.raises(RuntimeError, match="allow_pickle=False"):
            place.job.do("run", key=opened.key, file=sha, batch=1)
    assert not list(tmp_path.rglob("trap"))


# --- the runner


LIES = {
    "a bomb": ('return {"next": 0, "ended": None}, bytes(8 << 20)', "more than 4 MiB"),
    "a step that was not given": ("return said(request, b'{\"step\": 99}')", "not given"),
    "a number of no step": ("return said(request, b'{\"step\": true}')", "not given"),
    "no object": ("return said(request, b'[1]')", "something else"),
    "deep nesting": ("return said(request, b'[' * 100_000 + b']' * 100_000)", "deep"),
    "not a number": ('return said(request, b\'{"step": 1, "x": NaN}\')', "finite"),
    "half a character": ('return said(request, b\'{"step": 1, "x": "\\\\ud800"}\')', "character"),
    "a wrong place": ('return {"next": 10**9, "ended": None}, b"{}\\n"', "fit together"),
    "half a line": ('return {"next": 1 + request["offset"], "ended": None}, b"{"', "fit together"),
    "a wrong end": ('return {"next": 0, "ended": {"code": "x"}}, b""', "ended"),
    "no data": ('return {"next": 0, "ended": None}', "no answer|something else|half"),
}
LYING = """

def said(request, line):
    return {"next": request["offset"] + len(line) + 1, "ended": None}, line + b"\\n"

def lying(request, folder):
    %s

ANSWERS["follow"] = lying
"""


@pytest.mark.parametrize("lie", LIES)
def test_a_runner_that_lies_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    code, reason = LIES[lie]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(jobs, "ANSWER_S", 1.0)
    monkeypatch.setattr(jobs, "FOLLOW_S", 1.0)
    monkeypatch.setattr(lasting_link, "RECONNECT_S", 0.0)
    source = runner_source() + (LYING % code).encode()
    for module in (bootstrap, link):
        monkeypatch.setattr(module, "runner_source", lambda: source)
    with pytest.raises((BoardError, FileFormatError), match=reason), job_on(HERE, title="test") as job:
        job.do("about", threads=1, backends=[])
