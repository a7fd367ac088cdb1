"""Several boards in one go: measured at the same time, each one's failure its own, and one Ctrl-C for all.

The boards are processes of this machine, each with a home of its own, and their runtime is the device that is
arithmetic (`backends.fake`) or ONNX Runtime.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from local_board import Place, becomes
from typer.testing import CliRunner

from conftest import tiny_space
from planted_search import accuracy
from ponas_deploy.backends import RunSettings
from ponas_deploy.boards.book import Board, add_board
from ponas_deploy.commands.app import app
from ponas_deploy.engines.fleet import Fleet, FleetError, deploy_fleet
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.wanted import Deployment
from ponas_deploy.files.home import home
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling import making
from ponas_deploy.profiling.progress import DONE, FAILED, WAITING, OnProgress, ProfilingProgress
from ponas_deploy.profiling.tables import ProfileOptions
from ponas_deploy.profiling.target import Target
from ponas_deploy.profiling.together import ProfilesError, profile_devices
from ponas_deploy.remote.job import Job
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.store import StoredTable
from searchspace import SPACES, Space
from stored_tables import stored

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
NAMES = ("left", "right")
PLAN = Plan(sample_ns=300_000, min_rounds=3, floor_rounds=3, max_rounds=3, retakes=0, redone_pct=0)
BOTH = ("--device", "left", "--device", "right")
PROFILE = ("profile", *BOTH, "--space", "tiny", "--resolution", "32", "--classes", "10")


@pytest.fixture(autouse=True)
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Place]]:
    """Their private folders; at the end nothing runs there, and nobody holds a lock."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(making, "plan_for", lambda backend: PLAN)
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.chdir(tmp_path)
    found = {}
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        add_board(name, Board(command=("env", f"HOME={folder}"), python=sys.executable))
        found[name] = Place(folder / ".cache" / "ponas")
    yield found
    for place in found.values():
        assert not place.folder.exists() or becomes(place.is_free)
        assert becomes(lambda place=place: not place.processes()), place.processes()  # type: ignore[misc]


def before_rounds(monkeypatch: pytest.MonkeyPatch, call: Callable[[str, int], None]) -> None:
    """Have `call` be called before every round of a board, with its name and the round's number."""
    do = Job.do

    def told(job: Job, name: str, *on_line: Any, **details: Any) -> Any:
        if name == "round":
            call(job._entry.name, details["number"])
        return do(job, name, *on_line, **details)

    monkeypatch.setattr(Job, "do", told)


def profiled(on_note: OnNote = no_note, on_progress: OnProgress | None = None) -> tuple[StoredTable, ...]:
    """Both, on the device that is arithmetic: the command line takes what measures a machine alone."""
    targets = [Target(name, "fake") for name in NAMES]
    options = ProfileOptions(60)
    return profile_devices(targets, [tiny_space()], options, on_note=on_note, on_progress=on_progress)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def test_both_are_measured_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)

    def meet(board: str, number: int) -> None:
        if number == 0:
            together.wait(60)  # BrokenBarrierError where one is measured after the other

    before_rounds(monkeypatch, meet)
    notes, seen = list[str](), list[ProfilingProgress]()
    tables = profiled(notes.append, seen.append)
    assert [one.conditions.device for one in tables] == list(NAMES)
    assert all(one.table.certificate for one in tables)
    assert [one.path.parent for one in tables] == [home() / "latency" / name for name in NAMES]
    for name in NAMES:
        assert any(note.startswith(f"{name}: profiling {name}, fake fp32") for note in notes)
        own = [one for one in seen if one.device == name]
        assert {(one.runtime, one.resolution) for one in own} == {("fake fp32", 32)}
        assert any(one.text.startswith("building block") for one in own)
        assert own[-1].stage == DONE
        assert own[-1].text.startswith("mean error 0.")
        assert own[-1].took_s > 0
    assert [(one.device, one.stage) for one in seen[:2]] == [(name, WAITING) for name in NAMES]


def test_what_the_others_measured_is_kept(monkeypatch: pytest.MonkeyPatch, boards: dict[str, Place]) -> None:
    def kill(board: str, number: int) -> None:
        if board == "right" and number == 1:
            os.kill(boards["right"].worker, signal.SIGKILL)

    before_rounds(monkeypatch, kill)
    seen = list[ProfilingProgress]()
    with pytest.raises(ProfilesError, match=r"^right: fake: its process was killed by signal 9") as caught:
        profiled(on_progress=seen.append)
    (made,) = caught.value.tables
    assert made.conditions.device == "left"
    (failed,) = (one for one in seen if one.stage == FAILED)
    assert failed.device == "right"
    assert "killed by signal 9" in failed.text
    assert [path.parent.name for path in (home() / "latency").rglob("*.json")] == ["left"]
    assert [path.parent.name for path in (home() / "latency").rglob("*.journal")] == ["right"]


def test_a_board_that_cannot_be_reached_stops_no_other() -> None:
    add_board("right", Board(command=("false",)), overwrite=True)
    options = ProfileOptions(5, out=Path("tables"))
    with pytest.raises(ProfilesError, match=r"^right: the connection ended \(exit code 1\)\.$") as caught:
        profile_devices([Target(name, "fake") for name in NAMES], [tiny_space()], options)
    (made,) = caught.value.tables
    assert made.path.parent == Path("tables") / "left"
    assert list(caught.value.failures) == ["right"]


def test_one_interrupt_ends_all(monkeypatch: pytest.MonkeyPatch, boards: dict[str, Place]) -> None:
    together = threading.Barrier(2, lambda: os.kill(os.getpid(), signal.SIGINT))

    def meet(board: str, number: int) -> None:
        if number == 1:
            together.wait(60)
        assert number < 3, "it goes on"

    monkeypatch.setattr(making, "plan_for", lambda backend: replace(PLAN, max_rounds=50, floor_rounds=50))
    before_rounds(monkeypatch, meet)
    others = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        profiled()
    assert not [one for one in threading.enumerate() if "ThreadPool" in one.name and one not in others]
    assert all(place.is_free() for place in boards.values())
    assert {path.parent.name for path in (home() / "latency").rglob("*.journal")} == set(NAMES)
    assert not list((home() / "latency").rglob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*PROFILE, "--name", "lab"), 2, "--name: of one device, name a single --device"),
        (("profile", *BOTH, "--estimate", "orin-nano"), 2, "--estimate: of one device"),
        ((*PROFILE, "--device", "left"), 1, "left is named twice"),
        ((*PROFILE, "--device", "toaster"), 1, "'toaster' is not this machine"),
        ((*PROFILE, "--backend", "fake"), 1, "unknown backend 'fake': known are benchmark_app"),
        (("export", "PONAS-A", *BOTH[:2], "--backend", "fake"), 1, "unknown backend 'fake'"),
        (("specialize", *BOTH, "--device", "toaster", "--latency", "3ms"), 1, "unknown device 'toaster'"),
    ],
)
def test_bad_input_is_refused_before_anybody_is_reached(
    arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.replace("│", " ").split())
    assert "connecting" not in done.output


def test_two_entries_of_one_machine_are_refused() -> None:
    add_board("again", Board(command=("env", f"HOME={Path('left').absolute()}"), aliases=("l",)))
    done = run("profile", "--device", "left", "--device", "l")
    assert done.exit_code == 1
    assert "left and again are one machine by the device book: ask for one at a time" in done.stderr


# --- engines


class Planted:
    """A clock by which networks take the milliseconds of their board, the first ones `first`."""

    def __init__(self, first: dict[str, float], later: dict[str, float]) -> None:
        self.first, self.later = first, later
        self.timed = dict[str, list[Path]]()

    def __call__(
        self,
        engine: Path,
        backend: str,
        settings: RunSettings,
        core_ns: float = 0.0,
        *,
        place: BoardPlace,
        **asked: object,
    ) -> EngineTiming:
        assert engine.exists()
        assert place.files_of(engine)[0][0] == engine.name
        searches = self.timed.setdefault(place.name, [])
        if engine.parent.parent not in searches:
            searches.append(engine.parent.parent)
        taken = self.first if engine.parent.parent == searches[0] else self.later
        return EngineTiming(((round(1e6 * taken[place.name]),) * 4,) * 2)


@pytest.fixture
def space(planted_clock: None) -> Space:
    """Tables of both boards; blocks later in a layer lose less, and take longer on the left one."""
    pytest.importorskip("onnxruntime")
    space = tiny_space()
    layers = tuple(layer.name for layer in space.layers)
    for device, row in {"left": (1.0, 2.0, 3.0, 4.0), "right": (2.0, 1.5, 1.0, 2.5)}.items():
        stored(space, device, grid=Grid(layers, space.labels, (row,) * len(layers)))
    return space


def deploy(
    space: Space, folder: Path, robust: bool = True, budgets: dict[str, Any] | None = None, **more: Any
) -> Fleet:
    asked = Deployment(space, folder / "out", accuracy(space, folder), {"latency": "10ms"}, **more)
    targets = [Target(name, "onnxruntime", "fp32") for name in NAMES]
    return deploy_fleet(asked, targets, robust=robust, budgets=budgets)


def test_one_network_is_built_and_measured_on_both(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted({"left": 9.5, "right": 5.0}, {"left": 9.5, "right": 5.0})
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", planted)
    fleet = deploy(space, tmp_path, budgets={"right": {"latency": "6ms"}})
    assert fleet.shared is not None
    assert planted.timed.keys() == set(NAMES)
    for engine, device, taken_ms in zip(fleet.engines, NAMES, (9.5, 5.0), strict=True):
        manifest = read_manifest(tmp_path / "out" / device)
        assert manifest == engine.manifest
        assert manifest.conditions.device == device
        assert manifest.choices == fleet.shared.choice.choices
        assert engine.measured is not None
        assert engine.measured.p50_ms == taken_ms
        assert manifest.verdict == "met"
        assert dict(manifest.environment)["processor"] == this_machine().processor
        assert (engine.folder / manifest.engine_file).exists()


def test_what_is_over_budget_on_a_board_is_chosen_again(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted({"left": 14.0, "right": 3.0}, {"left": 9.0, "right": 3.0})
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", planted)
    said = list[str]()
    fleet = deploy(space, tmp_path, on_note=said.append)
    assert any(text.startswith("left: ") and "Another network is chosen" in text for text in said)
    assert fleet.shared is not None
    assert fleet.shared.devices[0].choice.predicted_ms * 14.0 / 10.0 <= 10.0
    assert {one.architecture.choices for one in fleet.engines} == {fleet.shared.choice.choices}
    assert [one.manifest.verdict for one in fleet.engines] == ["met", "met"]
    assert [len(planted.timed[name]) for name in NAMES] == [2, 2]


def test_engines_of_the_others_stay_where_a_device_fails(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"left": 500.0, "right": 3.0}
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", Planted(taken, taken))
    with pytest.raises(FleetError) as caught:
        deploy(space, tmp_path, robust=False)
    (engine,) = caught.value.fleet.engines
    assert engine.folder == tmp_path / "out" / "right"
    assert read_manifest(engine.folder).verdict == "met"
    assert list(caught.value.failures) == ["left"]
    assert str(caught.value).startswith("left: ")
    assert str(caught.value).endswith(f"Made for the others: {engine.folder}.")
