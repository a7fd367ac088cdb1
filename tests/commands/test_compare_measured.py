"""`ponas compare --device`: a tiny space, an ONNX model and a stock network, in real processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from conftest import tiny_space
from ponas_deploy.boards.book import Entry
from ponas_deploy.commands.app import app
from ponas_deploy.engines.comparison import compare_networks
from ponas_deploy.engines.comparison_document import ComparisonsDocument
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.home import home
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.progress import DONE, WAITING, ProfilingProgress
from ponas_deploy.profiling.target import Target
from ponas_deploy.tables.accuracy import AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.top1 import MeasuredTop1, Top1Scale
from searchspace import SPACES, Architecture
from stored_tables import stored

TINY = ("compare", "--device", "cpu", "--backend", "onnxruntime", "--time", "200ms")
SPACE = ("--space", "tiny", "--resolution", "32", "--classes", "10")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny space with a latency table of this machine, an accuracy table of ImageNet, and a model."""
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    space = tiny_space()
    layers = tuple(layer.name for layer in space.layers)
    cells_ms = tuple(tuple(1.0 + place for place in range(len(row))) for row in space.labels)
    stored(space, this_machine().name, grid=Grid(layers, space.labels, cells_ms))
    losses = tuple(tuple(float(len(row) - 1 - place) for place in range(len(row))) for row in space.labels)
    table = AccuracyTable(
        Grid(layers, space.labels, losses),
        space=SpaceKey.of(space),
        origin=AccuracyOrigin("ImageNet", "a test", 32, 10, 100, (), 0, weights="inherited weights"),
        created="2026-01-01",
        top1_scale=Top1Scale("points", 80.0, measured=MeasuredTop1(100, 70.0, 81.0)),
    )
    write_accuracy_table(table, home() / "accuracy" / "tiny.json")
    path = tmp_path / "mine.onnx"
    path.write_bytes(network_bytes(Architecture(space, tuple(row[0] for row in space.labels)), 1))
    return path


def test_all_kinds_stand_on_one_chart(model: Path) -> None:
    done = run(
        *TINY, *SPACE, "--stock", "none", "--latency", "3ms,7ms,20ms", "--onnx", str(model), "--top1", "60",
        "k3e6,k3e6,k3e6", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    again = json.loads(json.dumps(encoded(msgspec.convert(document, ComparisonsDocument))))
    assert again == document
    (found,) = document["comparisons"]
    networks = {one["key"]: one for one in found["networks"]}
    assert {one["kind"] for one in networks.values()} == {"own", "space"}
    assert networks["own-0"]["top1"]["pct"] == 60.0
    assert networks["own-0"]["resolution_px"] == 32
    assert [one["budget_ms"] for one in found["budgets"]] == [3.0, 7.0, 20.0]
    best = networks[found["budgets"][-1]["specialised"]]
    assert (best["top1"]["known"], best["top1"]["pct"]) == ("predicted", 80.0)
    assert best["choices"] == ["k5e6se"] * 3
    assert best["predicted_ms"] == pytest.approx(12.0)
    assert networks["given-0-32"]["choices"] == ["k3e6"] * 3
    assert all(one["measured_ms"] > 0 and one["params"] > 0 and one["macs"] > 0 for one in networks.values())
    assert sorted(found["networks"], key=lambda one: one["measured_ms"]) == found["networks"]
    assert "on" in {one["front"] for one in networks.values()}


def test_each_runtime_says_what_it_waits_for_and_what_came_of_it(model: Path) -> None:
    seen = list[ProfilingProgress]()
    compare_networks(
        tiny_space(),
        Target("cpu", "onnxruntime"),
        budgets=1,
        stock=(),
        models={model: None},
        seconds=0.2,
        on_progress=seen.append,
    )
    assert list(dict.fromkeys(one.stage for one in seen)) == [WAITING, "build", "measure", DONE]
    assert {(one.runtime, one.resolution) for one in seen} == {("onnxruntime fp32", 0)}
    assert seen[-1].text == "2 networks timed"
    assert seen[-1].took_s > 0


@pytest.mark.skipif(sys.platform != "linux", reason="boards run Linux")
def test_models_are_compared_on_a_board(model: Path, board: Entry) -> None:
    pytest.importorskip("onnxruntime")
    other = model.with_name("other.onnx")
    space = tiny_space()
    other.write_bytes(network_bytes(Architecture(space, tuple(row[-1] for row in space.labels)), 1))
    done = run(
        "compare", "--device", board.name, "--backend", "onnxruntime", "--time", "200ms", "--stock", "none",
        "--budgets", "0", "--onnx", str(model), "--onnx", str(other), "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["comparisons"]
    assert found["device"]["device"] == "box"
    assert {one["name"] for one in found["networks"]} == {"mine.onnx", "other.onnx"}
    assert all(one["measured_ms"] > 0 for one in found["networks"])


def test_a_stock_network_of_torchvision_is_compared(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision", reason="torchvision (the extra train) is not installed")
    from ponas_deploy.engines import stock

    small = stock.StockNetwork(
        "Small", "torchvision", "mobilenet_v3_small", 67.67, "V1", "a test", resolution=32
    )
    monkeypatch.setattr(stock, "STOCK", (small,))
    done = run(*TINY, *SPACE, "--onnx", str(model), "--budgets", "0")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "Small" in text
    assert "67.67" in text
    assert "published" in text
    assert "mine.onnx" in text
    assert "Noise floor" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("compare", "PONAS-A"), 2, "a --latency-table to predict on, or --device to measure"),
        (("compare", "PONAS-A", "--onnx", "m.onnx"), 2, "--onnx: only with --device"),
        ((*TINY, "--latency-table", "t.json"), 2, "predicts and --device measures"),
        ((*TINY, "--top1", "75"), 2, "1 of --top1 for 0 of --onnx"),
        ((*TINY, "--onnx", "m.onnx", "--top1", "good"), 2, "is no percentage"),
        ((*TINY, "--onnx", "m.onnx", "--top1", "nan"), 2, "is no percentage"),
        ((*TINY, "--latency", "fast"), 2, "is not a latency"),
        ((*TINY, "--stock", "resnet51"), 1, "resnet51"),
        ((*TINY, "--stock", "none", "--onnx", "missing.onnx"), 1, "there is no such file"),
        ((*TINY, "--stock", "none", "--budgets", "0"), 1, "there is nothing to compare"),
        (
            (*TINY, "--precision", "mixed"),
            1,
            "stock networks and networks of space ofa-mbv3 do not",
        ),
        (
            (*TINY, "--precision", "mixed", "--stock", "none", "--budgets", "0", "MobileNetV3-Small"),
            1,
            "which of their layers are in int8, and MobileNetV3-Small do not",
        ),
        (("compare", "--device", "jetson"), 1, "is not this machine: `ponas devices add jetson"),
        ((*TINY, "--space", "nonsense"), 1, "nonsense"),
    ],
)
def test_bad_input_ends_in_a_sentence(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.replace("│", " ").split())


def test_a_budget_below_the_fastest_names_what_is_possible(model: Path) -> None:
    done = run(*TINY, *SPACE, "--latency", "1ms")
    assert done.exit_code == 1
    assert "no architecture meets 1 ms" in done.output
    assert "3 ms" in done.output
    assert not (home() / "stock").exists(), "nothing is built before a budget is refused"


def test_a_budget_that_no_network_meets_leaves_the_others(model: Path) -> None:
    given = ("--stock", "none", "--onnx", str(model), "--top1", "60")
    done = run(*TINY, *SPACE, *given, "--latency", "1ms,7ms", "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["comparisons"]
    assert [one["budget_ms"] for one in found["budgets"]] == [7.0]
    assert any("no architecture meets 1 ms" in one for one in found["warnings"])


def test_a_runtime_that_fails_leaves_the_others(model: Path) -> None:
    space = tiny_space()
    slow = Grid.over(space, ([100.0] * len(row) for row in space.labels))
    stored(space, this_machine().name, "openvino", grid=slow)
    both = ("--backend", "openvino", "--precision", "fp32", "--stock", "none", "--latency", "7ms")
    done = run(*TINY, *SPACE, *both, "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["comparisons"]
    assert found["device"]["backend"] == "onnxruntime"
    assert found["summary"] == "No verdict on specialising: there is no other network of known top-1."
    said = " ".join(done.stderr.split())
    assert "openvino fp32" in said
    assert "is left out: no architecture meets 7 ms" in said
    (left_out,) = found["left_out"]
    assert left_out in said
    assert left_out.startswith(f"{this_machine().name}, openvino fp32")


def test_a_space_that_the_table_does_not_name_is_named(tmp_path: Path, tiny: object) -> None:
    rows = [f"L{layer},k3e3,1.0" for layer in range(1, 20)]
    path = tmp_path / "some.csv"
    path.write_text("layer,candidate,latency_ms\n" + "\n".join(rows) + "\n")
    done = run("compare", ",".join(["k3e3"] * 19), "--latency-table", str(path), "--space", "ponas", "--json")
    assert done.exit_code == 0, done.output
    (network,) = json.loads(done.stdout)["networks"]
    assert network["params"] > 1e6


def test_published_networks_are_named_beside_networks_of_a_space(model: Path) -> None:
    done = run(
        *TINY, *SPACE, "--stock", "none", "--budgets", "0", "mobilenetv3-small", "k3e6,k3e6,k3e6", "--json"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    networks = {one["key"]: one for one in json.loads(done.stdout)["comparisons"][0]["networks"]}
    assert networks.keys() == {"published-MobileNetV3-Small", "given-0-32"}
    small = networks["published-MobileNetV3-Small"]
    assert (small["name"], small["resolution_px"], small["top1"]["pct"]) == ("MobileNetV3-Small", 224, 67.4)
    assert small["top1"]["of"].startswith("arXiv 1905.02244")
