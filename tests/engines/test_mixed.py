"""Mixed precision from tables to one engine, on the real runtimes, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import ponas_deploy as ponas
from conftest import tiny_space
from ponas_deploy.backends import RunSettings, Session, get_backend
from ponas_deploy.commands.reports.engine import engine_report
from ponas_deploy.engines.documents import engine_document
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.task import WeightsSource, random_source
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.errors import BackendError, FileFormatError, PonasError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes
from ponas_deploy.search.precisions import BestInPrecision
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions
from ponas_deploy.tables.store import StoredTable
from rendered import shown
from searchspace import SPACES, Architecture, Space
from searchspace.mixed import in_int8, is_int8, mixed, plain_label, plain_network, precisions
from searchspace.space import Layer
from stored_tables import stored

IMAGES = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
RUNTIMES = ("onnxruntime", "openvino")


@pytest.fixture(autouse=True)
def _tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


@pytest.fixture
def space() -> Space:
    return mixed(tiny_space())


def network(space: Space, *int8: int) -> Architecture:
    """The middle network, with the layers of these numbers on integers."""
    labels = [layer.labels[4] for layer in space.layers]
    on_integers = in_int8(space, labels)
    chosen = (on_integers[at] if at in int8 else label for at, label in enumerate(labels))
    return Architecture(space, tuple(chosen))


def integer_layers(model: bytes) -> set[str]:
    """The layers of a prepared model whose convolutions read integers."""
    graph = onnx.load_model_from_string(model).graph
    return {
        node.name.rsplit(".", 1)[0]
        for node in graph.node
        if node.op_type == "Conv" and node.input[1].endswith(".dequantized")
    }


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("int8", [(), (1,), (0, 2), (0, 1, 2)])
def test_a_network_runs_with_those_layers_on_integers_that_its_choices_say(
    name: str, int8: tuple[int, ...], space: Space
) -> None:
    backend, chosen = get_backend(name), network(space, *int8)
    model, plain = network_bytes(chosen, 1), network_bytes(plain_network(chosen), 1)
    prepared = backend._scales.applied(model, "mixed")  # type: ignore[attr-defined]
    assert integer_layers(prepared) == {f"layers.{at + 1}" for at in int8}
    with (
        backend.load(model, RunSettings("mixed", 1)) as session,
        backend.load(plain, RunSettings("fp32", 1)) as full,
    ):
        assert session.settings().precision == "mixed"
        expected, found = full.run(IMAGES[:1]), session.run(IMAGES[:1])
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert (difference == 0) if not int8 else (0 < difference < 0.1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_model_that_names_no_layers_is_refused(name: str, model: bytes) -> None:
    with pytest.raises(BackendError, match="does not say which of its layers are in int8"):
        get_backend(name).load(model, RunSettings("mixed", 1))


def test_a_cell_on_integers_takes_and_gives_floats(space: Space) -> None:
    key, block = next((key, block) for key, block in blocks_of(space).items() if is_int8(key))
    backend = get_backend("onnxruntime")
    prepared = backend._scales.applied(block_model(key, block, 1, space.name), "mixed")  # type: ignore[attr-defined]
    graph = onnx.load_model_from_string(prepared).graph
    kinds = [node.op_type for node in graph.node]
    assert (kinds[0], kinds.count("QuantizeLinear") > 1) == ("QuantizeLinear", True)
    float32 = onnx.TensorProto.FLOAT
    ends = (*graph.input, *graph.output)
    assert {one.type.tensor_type.elem_type for one in ends} == {float32}


def losses(space: Space) -> AccuracyTable:
    """The larger the block the better; integers lose 0.3 points, 5 in the second layer."""
    rows = []
    for at, layer in enumerate(space.layers):
        labels = [one.label for one in layer.candidates]
        worth = {label: number for number, label in enumerate(dict.fromkeys(map(plain_label, labels)))}
        costs = 5.0 if at == 1 else 0.3
        rows.append([3.0 - worth[plain_label(label)] + costs * is_int8(label) for label in labels])
    return AccuracyTable(Grid.over(space, rows), space=SpaceKey.of(space))


def latencies(space: Space, backend: str = "onnxruntime") -> StoredTable:
    """A table of this machine: a block takes half a millisecond, and half of that on integers."""
    rows = [[0.25 if is_int8(label) else 0.5 for label in layer.labels] for layer in space.layers]
    conditions = Conditions(this_machine().name, backend, "mixed", 1, 1)
    return stored(space, conditions.device, backend, grid=Grid.over(space, rows), conditions=conditions)


def calibrated(**changes: object) -> WeightsSource:
    return replace(random_source(), images=lambda: IMAGES, **changes)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_search_emits_one_engine_of_several_precisions(
    name: str, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_millisecond = EngineTiming(((10**6,) * 4,) * 2)
    for user in ("engines.search", "checks.engine"):
        monkeypatch.setattr(f"ponas_deploy.{user}.time_engine", lambda *of, **how: a_millisecond)
    seen = list[str]()

    def top1(session: Session, batch: int) -> float:
        seen.append(session.settings().precision)
        return 90.0 + len(seen)

    table, out = latencies(space, name), tmp_path / "engine"
    engine = ponas.deploy(
        tiny_space(),
        ponas.Target("cpu", name, "mixed"),
        losses(space),
        out=out,
        latency_ms=1.15,
        latency_table=str(table.path),
        weights=calibrated(top1_pct=top1, tested_on="here"),
        confidence=0.5,
    )
    assert precisions(engine.architecture.choices) == ("int8", "fp32", "int8")
    assert engine.conditions.precision == "mixed"
    assert engine.measured
    manifest = read_manifest(out)
    assert manifest.precisions == ("int8", "fp32", "int8")
    assert json.loads((out / "manifest.json").read_text())["precisions"] == ["int8", "fp32", "int8"]
    assert seen == ["mixed", "fp32"]
    assert (manifest.top1_pct, manifest.top1_fp32_pct) == (91.0, 92.0)
    fp32, int8, both = manifest.by_precision
    assert fp32 == BestInPrecision(name, "fp32")
    assert (int8.backend, int8.precision, int8.predicted_ms) == (name, "int8", 0.75)
    assert (both.precision, both.choices) == ("mixed", manifest.choices)
    assert engine_document(manifest, out).by_precision == manifest.by_precision
    written = json.loads((out / "manifest.json").read_text())["by_precision"]
    assert [one["choices"] for one in written] == [None, list(int8.choices or ()), list(manifest.choices)]
    report = " ".join(shown(engine_report(engine)).split())
    assert f"precisions in {name} within the budget, by the tables: fp32 alone has no network" in report
    assert "int8 alone loses 5.60 pp at 0.75 ms, mixed loses 0.60 pp at 1 ms" in report
    assert "A precision for each layer gains 5.00 pp." in report
    found = ponas.verify(out)
    assert found.passed


def test_a_manifest_whose_precisions_are_not_its_choices_is_refused(space: Space, tmp_path: Path) -> None:
    conditions = Conditions(this_machine().name, "onnxruntime", "mixed", 1, 1)
    engine = ponas.export(network(space, 1), conditions, out=tmp_path / "engine", weights=calibrated())
    assert engine.manifest.precisions == ("fp32", "int8", "fp32")
    path = tmp_path / "engine" / "manifest.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "precisions": ["int8", "int8", "int8"]}))
    with pytest.raises(FileFormatError, match="not those of the choices"):
        read_manifest(tmp_path / "engine")


def test_what_mixed_precision_cannot_be_is_refused_in_a_sentence(space: Space, tmp_path: Path) -> None:
    tiny, out, named = tiny_space(), tmp_path / "engine", str(latencies(space).path)
    target = ponas.Target("cpu", "onnxruntime", "mixed")
    trained = replace(random_source(), trained=True, description="w.safetensors")
    plain_losses = AccuracyTable(Grid.over(tiny, [[0.0] * 4] * 3), space=SpaceKey.of(tiny))
    budget = {"latency_ms": 1.15}
    for change, message in (
        ({"weights": trained}, "int8 scales of trained weights come from images, and there are none"),
        ({"losses": None}, "does not say what layers lose in int8.*`ponas table int8 --weights FILE`"),
        ({"losses": plain_losses}, "accuracy table of tiny does not say what layers lose in int8"),
        ({"shortlist": 2}, "leave --shortlist out with --precision mixed"),
        ({"target": ponas.Target("cpu", "onnxruntime", ("mixed", "fp32"))}, "fp32 is asked for too"),
        ({"target": ponas.Target("cpu", "torch", "mixed"), "latency_table": None}, "unknown precision"),
    ):
        given = {"target": target, "losses": losses(space), "latency_table": named, "weights": calibrated()}
        given |= change
        where, table = given.pop("target"), given.pop("losses")
        with pytest.raises(PonasError, match=message):
            ponas.deploy(tiny, where, table, budget, out=out, **given)
    assert not out.exists()


def test_the_precisions_of_one_network_are_searched_with_its_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(resolution: int = 32, classes: int = 10) -> Space:
        whole = tiny_space(resolution, classes)
        layers = tuple(Layer(layer.name, layer.candidates[2:3]) for layer in whole.layers)
        return replace(whole, name="one", layers=layers)

    monkeypatch.setitem(SPACES, "one", one)
    a_millisecond = EngineTiming(((10**6,) * 4,) * 2)
    monkeypatch.setattr("ponas_deploy.engines.search.time_engine", lambda *of, **how: a_millisecond)
    space = mixed(one())
    engine = ponas.deploy(
        one(),
        ponas.Target("cpu", "onnxruntime", "mixed"),
        losses(space),
        out=tmp_path / "engine",
        latency_ms=1.15,
        latency_table=str(latencies(space).path),
        weights=calibrated(network="", file="one.safetensors"),
        confidence=0.5,
    )
    assert engine.manifest.precisions == ("int8", "fp32", "int8")
    with pytest.raises(PonasError, match="not the weights of a supernet"):
        ponas.deploy(
            tiny_space(),
            ponas.Target("cpu", "onnxruntime", "mixed"),
            losses(mixed(tiny_space())),
            out=tmp_path / "other",
            latency_ms=1.15,
            weights=calibrated(network="", file="one.safetensors"),
        )
