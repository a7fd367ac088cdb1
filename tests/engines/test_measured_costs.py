"""Throughput, memory and energy of engines: in fresh processes, in the manifest, in reports and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from conftest import tiny_space
from planted_clocks import spread
from planted_search import task
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.checks.engine import verify
from ponas_deploy.checks.engine_document import verification_document
from ponas_deploy.commands.reports.engine import manifest_report
from ponas_deploy.engines import timing
from ponas_deploy.engines.loop import build_and_measure, engine_document, meet_budget
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.documents import encoded
from ponas_deploy.machines.energy import EnergyCounter, EnergyTaken
from ponas_deploy.machines.process_memory import MemoryTaken
from ponas_deploy.measuring import engine_process
from ponas_deploy.measuring.engine_process import Taken, Timed, take_in_fresh_process
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.measuring.retries import RETRIES
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.trial import middle
from rendered import shown
from searchspace import SPACES, build_space
from searchspace.space import Space

pytest.importorskip("onnxruntime")
MEMORY = (MemoryTaken(50_000_000, 30_000_000), MemoryTaken(58_000_000, 31_000_000, 700_000_000))
ENERGY = tuple(EnergyTaken("RAPL package-0", 100, joules, 1.0, 2.0) for joules in (6.0, 5.0, 5.5))


@pytest.fixture(autouse=True)
def _known_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr(timing, "SECONDS", 0.05)
    monkeypatch.setattr(timing, "PROCESSES", 2)
    monkeypatch.setattr(timing, "PLAN", Plan(redone_pct=0, most_others_pct=100))
    monkeypatch.setattr(timing, "RETRIES", replace(RETRIES, contended_processes_s=0.0))


def taken_apart(engine: Path, empty: Path, *, back_to_back: bool = False) -> Taken:
    """What a fresh process measures of an engine, whatever disturbs it."""
    timed = Timed(engine, "onnxruntime", RunSettings(), 0.01, back_to_back=back_to_back)
    return take_in_fresh_process(timed, empty)


def engine_of(space: Space, folder: Path) -> Path:
    return get_backend("onnxruntime").save(network_bytes(middle(space), 1), RunSettings(), folder)[0]


def test_a_process_says_what_memory_its_engine_takes_beyond_the_runtime(tmp_path: Path) -> None:
    small, large = tiny_space(), build_space("ofa-mbv3", 224, 1000)
    found = {}
    for space in (small, large):
        engine = engine_of(space, tmp_path / space.name)
        memory = taken_apart(engine, tmp_path).memory
        assert memory is not None
        assert memory.peak_bytes > memory.runtime_bytes > 10e6, "Python, NumPy and a runtime take that"
        assert memory.gpu_bytes == 0
        found[space.name] = memory.engine_bytes, engine.stat().st_size
    assert found["ofa-mbv3"][0] > found["ofa-mbv3"][1] > 10e6, "its weights and more"
    assert found["tiny"][0] < found["ofa-mbv3"][0] / 2


def test_throughput_is_taken_of_inferences_one_right_after_another(tmp_path: Path) -> None:
    engine = engine_of(tiny_space(), tmp_path)
    taken = taken_apart(engine, tmp_path, back_to_back=True)
    found = EngineTiming((taken.runs_ns,), back_to_back=True)
    assert found.images_per_s(batch=4, streams=2) == pytest.approx(8e3 / found.percentile_ms(50))
    assert EngineTiming((taken.runs_ns,)).images_per_s(4) is None


class Counting:
    """A session that says how many inferences were asked for at once."""

    def __init__(self) -> None:
        self.asked = list[int]()

    def time_ns(self, runs: int) -> int:
        self.asked.append(runs)
        return 5_000_000 * runs


def test_a_sample_of_throughput_is_twenty_milliseconds_long() -> None:
    session = Counting()
    in_a_row = engine_process._in_a_row(session)  # type: ignore[arg-type]
    assert in_a_row == 4
    runs = engine_process.single_runs(session, 0.0, in_a_row=in_a_row, least=2)  # type: ignore[arg-type]
    assert (runs, session.asked[-2:]) == ([5_000_000] * 2, [4, 4])


def test_energy_is_read_beside_inferences_and_beside_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joules = count(0.0, 0.5)
    counter = EnergyCounter("RAPL planted", lambda: next(joules), window_s=0.02)
    monkeypatch.setattr(engine_process, "energy_counter", lambda *, on_gpu: None if on_gpu else counter)
    engine = engine_of(tiny_space(), tmp_path)
    taken = engine_process._take(Timed(engine, "onnxruntime", RunSettings(), 0.01, energy=True))
    assert taken.energy is not None
    assert (taken.energy.source, taken.energy.joules, taken.no_energy) == ("RAPL planted", 0.5, "")
    assert taken.energy.inferences > 1
    assert taken.energy.seconds >= 0.02
    assert 0 < taken.energy.idle_w <= 0.5 / 0.01, "read for half as long, while nothing ran"
    assert Taken.of(json.loads(json.dumps(taken.document()))) == taken
    still = EnergyCounter("RAPL planted", lambda: 7.0, window_s=0.01)
    monkeypatch.setattr(engine_process, "energy_counter", lambda *, on_gpu: still)
    taken = engine_process._take(Timed(engine, "onnxruntime", RunSettings(), 0.01, energy=True))
    assert (taken.energy, taken.no_energy) == (None, "RAPL planted did not move.")
    monkeypatch.setattr(engine_process, "energy_counter", lambda *, on_gpu: None)
    taken = engine_process._take(Timed(engine, "onnxruntime", RunSettings(), 0.01, energy=True))
    assert taken.no_energy.startswith("no energy counter here: ")
    assert engine_process._take(Timed(engine, "onnxruntime", RunSettings(), 0.01)).no_energy == ""


def test_what_was_measured_stands_in_the_manifest_the_report_and_the_json(
    tiny: Space, tmp_path: Path
) -> None:
    given = task(tiny, tmp_path, 1e9)
    folder = tmp_path / "engine"
    conditions = given.tables[0].conditions
    build_and_measure(middle(tiny), given.weights, conditions, folder)
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    document["measured"] |= {"memory": encoded(MEMORY), "energy": encoded(ENERGY), "back_to_back": True}
    path.write_text(json.dumps(document))
    manifest = read_manifest(folder)
    assert manifest.measured is not None
    assert (manifest.measured.memory, manifest.measured.energy) == (MEMORY, ENERGY)
    found = encoded(engine_document(manifest, folder))["measured"]
    assert found["images_per_s"] == pytest.approx(1e3 * conditions.batch / found["p50_ms"])
    assert found["memory"] == {
        "peak_bytes": 58_000_000,
        "runtime_bytes": 31_000_000,
        "engine_bytes": 27_000_000,
        "gpu_bytes": 700_000_000,
    }
    assert found["energy"] == {
        "mj": 55.0,
        "above_idle_mj": 35.0,
        "idle_w": 2.0,
        "noise_pct": pytest.approx(20.0),
        "inferences": 100,
        "source": "RAPL package-0",
    }
    text = " ".join(shown(manifest_report(manifest, folder)).split())
    assert "peak memory 27.0 MB: a process with the engine peaks at 58.0 MB" in text
    assert "images/s at batch" in text
    assert re.search(r"energy 55\.0+ mJ an inference, 35\.0+ mJ above what the machine takes", text), text


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("memory", [{"peak_bytes": -1, "runtime_bytes": 0}]),
        ("energy", [{**encoded(ENERGY[0]), "inferences": 0}]),
    ],
)
def test_what_cannot_have_been_measured_is_refused(
    name: str, wrong: object, tiny: Space, tmp_path: Path
) -> None:
    given = task(tiny, tmp_path, 1e9)
    build_and_measure(middle(tiny), given.weights, given.tables[0].conditions, tmp_path / "engine")
    path = tmp_path / "engine/manifest.json"
    document = json.loads(path.read_text())
    document["measured"][name] = wrong
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=f"{name}: expected"):
        read_manifest(tmp_path / "engine")


def test_two_measurements_keep_the_costs_of_both() -> None:
    first = EngineTiming(((10,),), memory=MEMORY[:1], energy=ENERGY[:1])
    both = first.with_later(EngineTiming(((20,),), memory=MEMORY[1:], energy=ENERGY[1:]))
    assert both.most_memory == MEMORY[1]
    assert both.middle_energy == ENERGY[2]
    assert EngineTiming(((10,),)).most_memory is None
    assert EngineTiming(((10,),)).middle_energy is None
    assert EngineTiming(((10,),)).energy_noise_pct == 0


def test_the_chosen_engine_and_its_verification_are_asked_for_energy(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()

    def clock(*given: object, energy: bool = False, **more: object) -> EngineTiming:
        asked.append(energy)
        taken = spread([1.0])(*given)
        return replace(taken, energy=ENERGY) if energy else taken

    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", clock)
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", clock)
    meet_budget(task(tiny, tmp_path, 1e9), tmp_path / "engine")
    assert (asked[0], asked[-1]) == (False, True), "the one that is emitted is timed a second time"
    measured = read_manifest(tmp_path / "engine").measured
    assert measured is not None
    assert measured.middle_energy == ENERGY[2]
    document = encoded(verification_document(verify(tmp_path / "engine")))
    assert document["measured"]["energy"]["mj"] == 55.0
