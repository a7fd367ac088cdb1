"""Where a target is measured: the runtimes of a board, asked for once, and those of its entry in the book."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from ponas_deploy.backends import registry
from ponas_deploy.boards.book import Board, Entry, add_board, remove_board
from ponas_deploy.boards.link import BoardError
from ponas_deploy.checks.engine import verify
from ponas_deploy.commands import app
from ponas_deploy.engines.deployment import deploy
from ponas_deploy.engines.export import export
from ponas_deploy.engines.measured_model import measure_model
from ponas_deploy.errors import BackendError, MeasurementError, PonasError, UnknownNameError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.place import HERE
from ponas_deploy.profiling import serving_tables, tables, tables_for
from ponas_deploy.profiling.places import (
    conditions_at,
    for_engines,
    known_at,
    reached,
    reached_if_possible,
)
from ponas_deploy.profiling.random_networks import profile_networks
from ponas_deploy.profiling.serving_tables import caveats
from ponas_deploy.profiling.staleness import refuse_stale
from ponas_deploy.profiling.target import Target, device_of
from ponas_deploy.remote.answers import WorkerEnded
from ponas_deploy.remote.job import Job
from ponas_deploy.remote.place import BoardPlace, RuntimeThere
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.store import StoredTable
from sample_tables import latency_table
from searchspace.architecture import Architecture
from searchspace.space import Space
from searchspace.spaces import build_space
from stored_tables import stored

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
TENSORRT = RuntimeThere("tensorrt", precisions=("fp16", "fp32"), on_gpu=True)
TRTEXEC = RuntimeThere("trtexec", precisions=("fp16",), on_gpu=True)
CUDA = RuntimeThere("onnxruntime-cuda", precisions=("fp32",), on_gpu=True)
ORT = RuntimeThere("onnxruntime", precisions=("fp32",))
PERF_TEST = RuntimeThere("onnxruntime_perf_test", precisions=("fp32",))
BENCHMARK_APP = RuntimeThere("benchmark_app", precisions=("fp32",))
CLOCKS = (("gpu_clocks", "1020 MHz"),)


@pytest.fixture(autouse=True)
def _few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponas_deploy.engines.timing.PROCESSES", 2)


class Said(BoardPlace):
    """A board of which is known what it said; nothing is asked."""

    def __init__(self, *runtimes: RuntimeThere) -> None:
        super().__init__("box", None, lambda: pytest.fail("it is asked"), lambda: None)
        names = [entry.name for entry in registry.ENTRIES if entry.on_boards]
        self._runtimes = {name: RuntimeThere(name, problem="is not there.") for name in names}
        self._runtimes |= {one.backend: one for one in runtimes}


@pytest.mark.parametrize(
    ("there", "named", "used"),
    [
        ((TENSORRT, TRTEXEC, CUDA, ORT), (), {"tensorrt": ("fp16", "fp32"), "onnxruntime-cuda": ("fp32",)}),
        ((TRTEXEC, ORT), (), {"trtexec": ("fp16",)}),
        ((ORT,), (), {"onnxruntime": ("fp32",)}),
        ((TENSORRT, ORT), ("onnxruntime",), {"onnxruntime": ("fp32",)}),
        ((PERF_TEST, BENCHMARK_APP), (), {"onnxruntime_perf_test": ("fp32",), "benchmark_app": ("fp32",)}),
        ((ORT, PERF_TEST, BENCHMARK_APP), (), {"onnxruntime": ("fp32",), "benchmark_app": ("fp32",)}),
        ((TRTEXEC, PERF_TEST), (), {"trtexec": ("fp16",)}),
    ],
)
def test_the_runtimes_of_a_board_are_those_of_its_gpu_if_it_has_any(
    board: Entry, there: tuple[RuntimeThere, ...], named: tuple[str, ...], used: dict[str, tuple[str, ...]]
) -> None:
    assert known_at(Said(*there), Target("box", named)) == used


def test_a_runtime_that_is_named_and_missing_is_an_error(board: Entry) -> None:
    with pytest.raises(BackendError, match=r"^tensorrt: on box: is not there\.$"):
        known_at(Said(ORT), Target("box", "tensorrt"))
    with pytest.raises(BackendError, match="torch: on box: is not used on boards"):
        known_at(Said(ORT), Target("box", "torch"))
    with pytest.raises(PonasError, match=r"^box has no runtime\. tensorrt: is not there\."):
        known_at(Said(), Target("box"))


def test_the_book_says_which_runtimes_of_a_board_are_used(board: Entry) -> None:
    both = ("onnxruntime", "tensorrt")
    add_board("box", Board(command=(), python=sys.executable, backends=both), overwrite=True)
    assert Target("box").used_backends == both
    assert Target("box", "openvino").used_backends == ("openvino",)
    assert Target("cpu").used_backends == ()
    assert known_at(Said(TENSORRT, CUDA, ORT), Target("box")) == {
        "onnxruntime": ("fp32",),
        "tensorrt": ("fp16", "fp32"),
    }
    with pytest.raises(PonasError, match="box has no runtime"):
        known_at(Said(CUDA), Target("box"))


def test_engines_are_of_the_runtimes_that_make_them(board: Entry) -> None:
    notes, (ort, app) = list[str](), ("onnxruntime", "benchmark_app")
    asked = Target("box", precisions="fp32")
    assert for_engines(Said(ORT), asked, notes.append) == asked
    assert for_engines(Said(ORT, BENCHMARK_APP), asked, notes.append) == replace(asked, backends=(ort,))
    assert notes == [
        "benchmark_app is left out, it makes no engines (`ponas profile --device box --backend benchmark_app`"
        " makes its latency table)"
    ]
    add_board("box", Board(command=(), python=sys.executable, backends=(app, ort)), overwrite=True)
    assert for_engines(Said(ORT, BENCHMARK_APP), Target("box")).backends == (ort,)
    for there, target in (
        (Said(BENCHMARK_APP), Target("box")),
        (Said(ORT, BENCHMARK_APP), Target("box", app)),
        (HERE, Target("cpu", (ort, app))),
    ):
        with pytest.raises(BackendError, match=r"^benchmark_app: .* no engines: .*\(pip install openvino\)"):
            for_engines(there, target)


def test_a_table_of_what_makes_no_engines_serves_only_where_none_is_built(
    tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_tables, "_serves_at", lambda place, stored: True)
    monkeypatch.setattr(tables_for, "missing", lambda *given, **options: ())
    for device, target, served in (
        (this_machine().name, Target("cpu"), {"onnxruntime"}),
        ("jetson", Target("jetson"), {"onnxruntime", "benchmark_app"}),
    ):
        conditions = Conditions(device, "benchmark_app", "fp32", 1, 1)
        stored(tiny, device)
        stored(tiny, device, conditions=conditions)
        found = tables_for.tables_for(target, tiny, 1.0)
        assert {one.conditions.backend for one in found} == served


def test_a_runtime_that_is_named_is_not_that_of_the_book(board: Entry) -> None:
    add_board("box", Board(command=(), python=sys.executable, backends=("tensorrt",)), overwrite=True)
    with pytest.raises(PonasError, match="box has no runtime"):
        known_at(Said(ORT), Target("box"))
    with pytest.raises(BackendError, match=r"^tensorrt: on box: is not there\.$"):
        known_at(Said(ORT), Target("box", "tensorrt"))
    assert replace(Target("box"), threads=2).backends == (), "and stays so"


def test_what_the_book_lacks_is_not_said_of_a_runtime_that_is_named(board: Entry) -> None:
    entry = Board(command=(), python=sys.executable, backends=("trtexec",))
    add_board("box", entry, overwrite=True)
    notes = list[str]()
    with reached(Target("box", "trtexec"), "test", notes.append) as place, pytest.raises(BackendError):
        conditions_at(place, Target("box", "trtexec"))
    assert not any("of the book" in note for note in notes)


def test_a_board_is_asked_once_and_what_it_lacks_of_the_book_is_said_once(
    board: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    entry = Board(command=(), python=sys.executable, backends=("onnxruntime", "trtexec"))
    add_board("box", entry, overwrite=True)
    steps, notes, target = [], list[str](), Target("box")
    do = Job.do

    def noted(self: Job, do_: str, *given: object, **details: object) -> object:
        steps.append(do_)
        return do(self, do_, *given, **details)  # type: ignore[arg-type]

    monkeypatch.setattr(Job, "do", noted)
    with reached(target, "test", notes.append) as place:
        for _ in range(2):
            (conditions,) = conditions_at(place, target)
            place.backend("onnxruntime").environment()
    assert conditions == Conditions("box", "onnxruntime", "fp32", 1, 1)
    assert steps == ["about"]
    assert [note for note in notes if "trtexec" in note] == [notes[-1]]
    assert notes[-1].startswith("box is left without trtexec of the book: ")


def test_more_threads_than_the_board_has_are_refused_there(board: Entry) -> None:
    with (
        pytest.raises(PonasError, match=r"^box: 1000 threads were asked for"),
        reached(Target("box", threads=1000), "test"),
    ):
        pass


def test_a_board_cannot_be_called_as_this_machine_is() -> None:
    name = this_machine().name
    with pytest.raises(PonasError, match=f"'{name}' is what this machine is called: choose another name"):
        add_board(name, Board(command=()))
    assert Target(name).local


def test_what_is_built_and_measured_on_a_board_is_the_boards(board: Entry, tmp_path: Path) -> None:
    space = build_space("ponas", 32, 10)
    network = Architecture(space, tuple(labels[0] for labels in space.labels))
    engine = export(network, Target("box", "fake"), out=tmp_path / "engine")
    environment = dict(engine.manifest.environment)
    assert engine.manifest.conditions.device == "box"
    assert environment["processor"] == this_machine().processor
    assert environment["runtime"].startswith("fake")
    assert (tmp_path / "engine" / engine.manifest.engine_file).exists()
    verified = verify(tmp_path / "engine")
    assert verified.timing is not None
    remove_board("box")
    verified = verify(tmp_path / "engine")
    assert verified.timing is None
    assert "'box' is not this machine" in verified.unreached


def test_conditions_of_a_board_are_built_there_and_those_of_a_stranger_nowhere(
    board: Entry, tmp_path: Path
) -> None:
    space = build_space("ponas", 32, 10)
    network = Architecture(space, tuple(labels[0] for labels in space.labels))
    notes = list[str]()
    made = export(network, Conditions("box", "fake", "fp32", 1, 1), out=tmp_path / "a", on_note=notes.append)
    assert made.manifest.conditions.device == "box"
    assert "connecting to box ..." in notes
    with pytest.raises(PonasError, match="'jetson' is not this machine: `ponas devices add jetson"):
        export(network, Conditions("jetson", "onnxruntime", "fp32", 1, 1), out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_table_of_a_board_that_is_another_thing_now_is_warned_of(board: Entry, tiny: Space) -> None:
    pytest.importorskip("onnxruntime")
    made, target = stored(tiny, "box"), Target("box", "onnxruntime")
    environment = tuple({**dict(made.table.environment), "runtime": "onnxruntime 0.1"}.items())
    old, notes = stored(tiny, "box", environment=environment), list[str]()
    with reached(target, "test") as place:
        (said,) = caveats(target, old, place)
        assert caveats(target, made, place) == ()
        assert tables.is_outdated(old.path, place, notes.append)
    assert "with onnxruntime 0.1, here is " in said
    assert caveats(target, old) == ()
    assert notes[0].endswith(": measured again")
    threads = replace(old.table, conditions=replace(old.conditions, threads=2))
    assert device_of(StoredTable(old.path, threads)) == Target("box", "onnxruntime", threads=2)


def test_a_table_of_a_board_that_is_another_thing_now_makes_no_promise(
    board: Entry, tiny: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    notes, asked = list[str](), list[str]()

    def conditions(place: BoardPlace) -> tuple[tuple[str, str], ...]:
        asked.append(place.name)
        return CLOCKS

    monkeypatch.setattr(BoardPlace, "conditions", conditions)
    locked = MeasurementProtocol(at_start=dict(CLOCKS))
    both = stored(tiny, "box", protocol=locked), stored(tiny_space(64), "box")
    assert refuse_stale(both, notes.append) == ()
    assert (asked, notes) == (["box"], ["connecting to box ..."]), "once for both"
    free = stored(tiny, "box", protocol=MeasurementProtocol(at_start={"gpu_clocks": "306-1020 MHz"}))
    with pytest.raises(MeasurementError, match=r"clocks of 306-1020 MHz, here is .* 1020 MHz.* No engine"):
        refuse_stale((both[1], free))
    unknown = replace(both[0].conditions, backend="openvino-of-tomorrow")
    assert refuse_stale((replace(free, table=replace(free.table, conditions=unknown)),)) == ()


def test_a_model_is_measured_on_a_board(board: Entry, model: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model)
    (one,) = measure_model(tmp_path / "model.onnx", Target("box", "fake"), seconds=0.1).timings
    assert one.conditions == Conditions("box", "fake", "fp32", 1, batch=2)
    assert one.timing.runs >= 60


def test_networks_are_measured_on_a_board_and_gone_on_with(board: Entry, tmp_path: Path) -> None:
    path, target = tmp_path / "networks.csv", Target("box", "fake")
    made = [profile_networks(target, tiny_space(), count, path).networks for count in (2, 3)]
    assert [len(set(one.choices)) for one in made] == [2, 3]
    assert made[1].values[:4] == made[0].values
    with pytest.raises(UnknownNameError, match="int7"):
        profile_networks(Target("box", "onnxruntime", "int7"), tiny_space(), 3, path)


def test_a_board_out_of_reach_is_specialised_for_by_its_tables(board: Entry, tmp_path: Path) -> None:
    space, notes = build_space("ponas", 64), list[str]()
    table = stored(space, board.name)
    add_board("box", Board(command=("false",), python=sys.executable), overwrite=True)
    out = tmp_path / "engine"
    engine = deploy(space, Target("box"), latency="100%", out=out, on_note=notes.append)
    assert any(note.endswith("Its tables are used as they are, and no engine is built.") for note in notes)
    assert engine.manifest.engine_file == ""
    assert engine.manifest.conditions == table.conditions
    assert [path.suffix for path in out.iterdir() if path.name != "manifest.json"] == [".onnx"]
    done = CliRunner().invoke(app, ["devices", "show", "box"])
    assert table.name in done.stdout
    document = json.loads(CliRunner().invoke(app, ["devices", "show", "box", "--json"]).stdout)
    assert document["latency_tables"] == [table.name]


def test_only_a_board_that_cannot_be_reached_leaves_an_engine_out(
    board: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    add_board("far", Board(command=("/nowhere/ssh",)))
    with (
        pytest.raises(
            BoardError, match=r"^far: /nowhere/ssh cannot .* no latency table yet: `ponas devices test far`"
        ),
        reached_if_possible(Target("far"), "test", notes.append),
    ):
        pass
    assert notes == ["connecting to far ..."]
    stored(build_space("ponas", 64), "far")
    with reached_if_possible(Target("far"), "test", notes.append) as place:
        assert place is None
    assert notes[-1].endswith("Its tables are used as they are, and no engine is built.")
    notes.clear()
    monkeypatch.setattr(Job, "do", lost)
    with (
        pytest.raises(WorkerEnded, match="was killed"),
        reached_if_possible(Target(board.name), "test", notes.append),
    ):
        pass
    assert not any("no engine" in note for note in notes)


def lost(job: Job, do: str, *on_line: object, **details: object) -> None:
    """A worker that ends at its first step."""
    raise WorkerEnded("box", "was killed by signal 9", "step about was to begin")


def test_a_board_that_is_gone_ends_what_makes_tables(
    board: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    def profiled(conditions: Conditions, *others: object, **options: object) -> StoredTable:
        asked.append(conditions.backend)
        if len(asked) == 1:
            return StoredTable(tmp_path, latency_table())
        raise BoardError("box", "the connection ended.")

    monkeypatch.setattr(tables_for, "profile_stored", profiled)
    both = [Conditions("box", name, "fp32", 1, 1) for name in ("onnxruntime", "openvino", "benchmark_app")]
    monkeypatch.setattr(tables_for, "_worth_profiling", lambda *given: both)
    monkeypatch.setattr(tables_for, "missing", lambda *given, **options: both)
    space = build_space("ponas", 32, 10)
    with (
        reached(Target("box", "fake"), "test") as place,
        pytest.raises(BoardError, match="connection ended"),
    ):
        tables_for.tables_for(Target("box", "fake"), space, 1.0, place=place)
    assert len(asked) == 2
