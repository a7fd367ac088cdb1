"""A reference network timed in turn with an engine: a slower machine is told from a slower engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from planted_clocks import spread
from planted_search import middle_ms, task
from ponas_deploy.backends import RunSettings, get_backend
from ponas_deploy.checks.engine import verify
from ponas_deploy.checks.engine_document import verification_document
from ponas_deploy.commands.reports.engine import verification_report
from ponas_deploy.engines import reference, timing
from ponas_deploy.engines.loop import meet_budget
from ponas_deploy.engines.manifest import MANIFEST
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.reference import Change, ReferenceTiming, change, together
from ponas_deploy.engines.task import RANDOM_WEIGHTS
from ponas_deploy.engines.timing import EngineTiming, time_engine
from ponas_deploy.measuring import engine_process
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.trial import middle
from rendered import shown
from searchspace.space import Space

NAME = reference.NAME


def test_the_network_is_the_same_under_its_name() -> None:
    """What makes it another network makes it need another name, or older manifests are compared wrongly."""
    model = reference.reference_model()
    assert model == reference.reference_model()
    graph = onnx.load_model_from_string(model).graph
    counted = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    assert (NAME, len(graph.node), counted) == ("mbconv-16x32x32-2", 22, 91586)
    with get_backend("onnxruntime").load(model, RunSettings()) as session:
        out = session.run(np.ones((1, 16, 32, 32), np.float32))
    assert out.shape == (1, 64, 8, 8)
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("machine", "engine", "words"),
    [
        (
            1.31,
            1.02,
            "The machine is 1.31 times slower than when the engine was emitted; the engine itself is not",
        ),
        (
            1.01,
            1.4,
            "The machine is as fast (1.01) as when the engine was emitted; the engine itself is 1.40 times",
        ),
        (
            1.2,
            1.4,
            "the engine itself is 1.40 times slower than that explains (another runtime, or other settings?)",
        ),
        (0.5, 1.0, "The machine is 2.00 times faster than"),
    ],
)
def test_what_changed_is_a_sentence(machine: float, engine: float, words: str) -> None:
    assert words in Change(machine, engine, 5.0).text
    assert Change(machine, engine, 200.0).text == "", "within the noise nothing is said"
    assert Change(1.04, 0.97, 5.0).text == ""


def test_only_the_same_network_is_compared() -> None:
    then, now = ReferenceTiming(NAME, (100.0, 110.0, 90.0)), ReferenceTiming(NAME, (131.0,))
    assert change(then, now, 1.31 * 1.02) == Change(
        pytest.approx(1.31), pytest.approx(1.02), pytest.approx(22.2, abs=0.1)
    )  # type: ignore[arg-type]
    other = ReferenceTiming("another", (131.0,))
    for one, two in ((then, None), (None, now), (then, other)):
        assert change(one, two, 1.0) is None
        assert together(one, two) is None
    assert together(then, now) == ReferenceTiming(NAME, (100.0, 110.0, 90.0, 131.0))


def beside(factor: float, machine: float):  # type: ignore[no-untyped-def]
    """A clock on which the engine takes `factor` and the reference network `machine` times what they took."""

    def clock(
        engine: Path, backend: str, settings: RunSettings, core_ns: float = 0.0, **place: object
    ) -> EngineTiming:
        found = spread([factor])(engine, backend, settings)
        return replace(found, reference=ReferenceTiming(NAME, (1e6 * machine, 1.01e6 * machine)))

    return clock


@pytest.mark.usefixtures("planted_clock")
def test_verification_tells_a_slower_machine_from_a_slower_engine(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", beside(1.0, 1.0))
    done = meet_budget(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine")
    assert done.manifest == read_manifest(tmp_path / "engine")
    for factor, machine, words in (
        (
            1.3,
            1.3,
            "1.30 times slower than when the engine was emitted; the engine itself is not slower (1.00)",
        ),
        (1.3, 1.0, "as fast (1.00) as when the engine was emitted; the engine itself is 1.30 times slower"),
    ):
        monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", beside(factor, machine))
        found = verify(tmp_path / "engine")
        document = verification_document(found)
        assert (found.verdict, document.machine_factor) == ("missed", pytest.approx(machine))
        assert document.engine_factor == pytest.approx(factor / machine)
        assert words in document.warnings[-1]
        assert words in " ".join(shown(verification_report(found)).split())
    monkeypatch.setattr("ponas_deploy.checks.engine.time_engine", beside(1.0, 1.0))
    assert verification_document(verify(tmp_path / "engine")).warnings == (RANDOM_WEIGHTS,)


@pytest.mark.usefixtures("planted_clock")
def test_an_older_manifest_has_no_reference(tiny: Space, tmp_path: Path) -> None:
    meet_budget(task(tiny, tmp_path, middle_ms(tiny)), tmp_path / "engine")
    path = tmp_path / "engine" / MANIFEST
    document = json.loads(path.read_text())
    del document["measured"]["reference"], document["verdict"]
    path.write_text(json.dumps(document))
    found = verify(tmp_path / "engine")
    assert (found.change, found.verdict) == (None, "met")
    assert verification_document(found).machine_factor is None


@pytest.mark.parametrize(
    ("engine_ns", "engine_in_a_row", "in_a_row"),
    [(8_200_000, 1, 8), (400_000, 1, 1), (900_000_000, 1, 20), (400_000, 30, 12), (400_000, 200, 20)],
)
def test_its_samples_are_as_long_as_the_engines(engine_ns: int, engine_in_a_row: int, in_a_row: int) -> None:
    """A shorter one fits between the turns that other processes get on the core: it would tell nothing."""

    class Steady:
        def __init__(self, ns: int) -> None:
            self.ns, self.asked = ns, set[int]()

        def time_ns(self, runs: int) -> int:
            self.asked.add(runs)
            return self.ns * runs

    own = Steady(1_000_000)
    given = Steady(engine_ns), "onnxruntime", RunSettings(), 0.0, engine_in_a_row
    runs = engine_process.reference_runs(own, *given)  # type: ignore[arg-type]
    assert own.asked == {1, in_a_row}
    assert set(runs) == {1_000_000}
    assert engine_process.reference_runs(None, own, "onnxruntime", RunSettings(), 0.0) == []  # type: ignore[arg-type]


def test_what_a_moment_did_to_both_is_taken_out() -> None:
    """One process met a core that was shared for half of the time, and so did the reference network in it."""
    runs = ((8_000_000,), (16_000_000,), (8_080_000,))
    alone, beside_it = EngineTiming(runs), ReferenceTiming(NAME, (1e6, 2e6, 1e6))
    assert alone.beside_reference(50) is None
    found = replace(alone, reference=beside_it).beside_reference(50)
    assert found is not None
    assert found.value == pytest.approx(8.0)
    assert found.deviation < 0.01


def test_it_is_timed_in_the_engines_own_processes(
    tiny: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "PROCESSES", 2)
    for backend in ("onnxruntime", "openvino"):
        pytest.importorskip(backend)
        folder = tmp_path / backend
        folder.mkdir()
        engine = get_backend(backend).save(network_bytes(middle(tiny), 1), RunSettings(), folder)[0]
        found = time_engine(engine, backend, RunSettings())
        assert found.reference is not None
        assert (found.reference.name, len(found.reference.processes_ns)) == (NAME, len(found.processes_ns))
        assert min(found.reference.processes_ns) > 1000
    assert not reference.serves("tensorrt"), "it searches kernels for seconds"
