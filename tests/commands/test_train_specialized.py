"""`ponas train specialized` and `specialize --shortlist`: networks evaluated on images, not by tables."""
# ruff: noqa: E402

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("sklearn", reason="needs the train extra (scikit-learn)")

from conftest import tiny_space
from ponas_deploy.commands import app
from ponas_deploy.engines import timing
from ponas_deploy.files.weights import read_weights, write_weights
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from searchspace import SPACES
from train.runs import TrainResult, train_run
from train.settings import FineTuneSettings, MetaSettings, TrainSettings

SETTINGS = TrainSettings(
    "digits",
    "tiny",
    resolution=16,
    seed=3,
    device="cpu",
    workers=1,
    meta=MetaSettings(epochs=6, batch=32, lr=0.1),
    fine_tune=FineTuneSettings(epochs=1, batch=64, lr=0.01),
)
ARCH = "k5e3se,k3e6,k3e3"
QUICK = ("--epochs", "2", "--batch", "64", "--lr", "0.05", "--device", "cpu")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainResult]:
    """A run on digits that took some seconds; and the tiny space known by name."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "tiny", tiny_space)
        yield train_run(SETTINGS, tmp_path_factory.mktemp("run"))
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "PROCESSES", 1)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def refused(result: Result, words: str) -> None:
    """Exit code 1, and one sentence with `words`."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output + repr(result.exception)
    assert words in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_was_trained_is_evaluated_and_exported_and_all_agree(
    run: Run, supernet: TrainResult, backend: str
) -> None:
    pytest.importorskip(backend)
    found = document(
        run("train", "specialized", ARCH, "--weights", supernet.weights, *QUICK, "--out", "one", "--json")
    )
    assert found["weights"] == "one/weights.safetensors"
    assert (found["choices"], found["data"], found["split_seed"]) == (ARCH.split(","), "digits", 3)
    assert found["test"]["top1_pct"] > 60
    assert found["test"]["images"] == 359
    given = (ARCH, "--weights", "one/weights.safetensors")
    made = document(run("export", *given, "--backend", backend, "--batch", "8", "--out", "engine", "--json"))
    both = document(run("evaluate", *given, "--engine", "engine", "--json"))
    assert both["agree"] is True
    assert both["weights"] == "weights.safetensors: as they are"
    for accuracy in (both, both["engine"]):
        assert accuracy["top1_pct"] == pytest.approx(found["test"]["top1_pct"])
        assert accuracy["top5_pct"] == pytest.approx(found["test"]["top5_pct"])
        assert accuracy["images"] == 359
    assert made["top1_pct"] == pytest.approx(found["test"]["top1_pct"])
    held = document(run("evaluate", *given, "--split", "validation", "--json"))
    assert held["top1_pct"] == pytest.approx(found["validation"]["top1_pct"])
    scratch = ("--data", "digits", "--space", "tiny", "--resolution", "16", "--json")
    again = document(run("train", "specialized", "engine/manifest.json", *QUICK, *scratch))
    assert again["choices"] == ARCH.split(",")
    assert again["weights"] == "runs/digits-manifest/weights.safetensors"


def test_the_report_the_resumed_run_and_the_changed_settings(run: Run, supernet: TrainResult) -> None:
    given = ("train", "specialized", ARCH, "--weights", supernet.weights, "--distill", supernet.meta)
    first = run(*given, *QUICK)
    assert first.exit_code == 0, first.output
    assert "A network of space tiny for digits at 16 px" in first.stdout
    assert "from weights.safetensors, taught by meta.safetensors, 2 epochs of 988 images" in first.stdout
    folder = Path("runs/digits-k5e3se-k3e6-k3e3")
    assert f"training in {folder}, log in log.csv" in first.stderr
    weights = (folder / "weights.safetensors").read_bytes()
    assert run(*given, *QUICK).stdout == first.stdout
    refused(
        run(*given, *QUICK, "--temperature", "2", "--seed", "1", "--json"),
        "other settings (seed was 0, now 1; training.distillation.temperature was 4.0, now 2.0)",
    )
    assert (folder / "weights.safetensors").read_bytes() == weights


def test_bad_input_is_one_sentence(run: Run, supernet: TrainResult, tmp_path: Path) -> None:
    command = ("train", "specialized")
    given = (*command, ARCH, *QUICK, "--json")
    scratch = (*given, "--space", "tiny")
    refused(run(*scratch), "error: name the images with --data.")
    refused(run(*scratch, "--data", "nothing"), "unknown data set 'nothing': known are")
    refused(run(*scratch, "--data", "digits", "--lr", "0"), "a learning rate of 0")
    refused(run(*scratch, "--data", "digits", "--device", "abacus"), "unknown device to train on 'abacus'")
    refused(run(*given, "--weights", "none.safetensors"), "none.safetensors: there is no such file")
    refused(run(*given, "--weights", supernet.meta), "is another network's, k5e6se,k5e6se,k5e6se: name that")
    refused(run(*given, "--weights", supernet.weights, "--space", "ponas"), "but the weights are for tiny")
    refused(run(*given, "--weights", supernet.weights, "--resolution", "32"), "the weights are for 16")
    refused(
        run(*given, "--distill", supernet.weights, "--space", "tiny"), "not the file of one trained network"
    )
    file = read_weights(supernet.meta)
    for name, header, words in (
        ("cut", {"seed": "4"}, "were cut into training and test by other seeds ("),
        (
            "classes",
            {"classes": "7", "class_names": ""},
            "classes.safetensors tells 7 classes apart, but digits has 10",
        ),
    ):
        path = tmp_path / f"{name}.safetensors"
        write_weights(path, file.tensors, {**file.metadata, **header})
        refused(run(*given, "--weights", supernet.weights, "--distill", path), words)
    assert run(*command, ARCH, "--epochs", "few").exit_code == 2
    assert run(*command).exit_code == 2
    assert not list(tmp_path.glob("runs/*"))


@pytest.fixture
def jetson(supernet: TrainResult, run: Run) -> tuple[str, ...]:
    """The options of a search for another device, whose table knows every candidate's price."""
    space = tiny_space(16)
    rows = tuple(tuple(0.1 * (place + 1) for place in range(len(labels))) for labels in space.labels)
    table = LatencyTable(
        Grid(tuple(layer.name for layer in space.layers), space.labels, rows, 0.1),
        SpaceKey.of(space),
        Conditions("jetson", "onnxruntime", "fp32", 1, 1),
        statistic="median",
        created="2026-01-01",
    )
    write_latency_table(table, Path("jetson.json"))
    tables = ("--latency-table", "jetson.json", "--accuracy-table", str(supernet.table_path))
    return ("specialize", "--device", "jetson", "--latency", "1.05ms", *tables, "--json")


def test_the_best_of_a_shortlist_by_images_is_emitted(
    run: Run, supernet: TrainResult, jetson: tuple[str, ...]
) -> None:
    given = (*jetson, "--weights", supernet.weights)
    plain = document(run(*given, "--out", "plain"))
    result = run(*given, "--shortlist", "6", "--out", "listed")
    found = document(result)
    assert "evaluating 6 networks on 450 validation images of digits ..." in result.stderr
    listed = found["shortlist"]
    values = [entry["validation_top1_pct"] for entry in listed]
    assert len({tuple(entry["choices"]) for entry in listed}) == 6
    assert values == sorted(values, reverse=True)
    assert [entry["choices"] for entry in listed if entry["chosen"]] == [found["choices"]]
    assert listed[0]["choices"] == found["choices"]
    by_table = min(listed, key=lambda entry: entry["predicted_loss_pp"])
    assert by_table["choices"] == plain["choices"]
    assert max(entry["predicted_ms"] for entry in listed) <= 1.05
    assert plain["shortlist"] == []
    for entry in listed[:2]:  # the same accuracy by another way: with other images for batch norm
        arch = ",".join(entry["choices"])
        way = ("evaluate", arch, "--weights", supernet.weights, "--split", "validation", "--json")
        assert document(run(*way))["top1_pct"] == pytest.approx(entry["validation_top1_pct"], abs=3)
    assert json.loads(Path("listed/manifest.json").read_text())["shortlist"] == listed
    for_people = (option for option in given if option != "--json")
    assert (
        "Shortlist: evaluated on validation images"
        in run(*for_people, "--shortlist", "2", "--out", "shown").stdout
    )


def test_a_shortlist_without_a_supernets_weights_is_refused(
    run: Run, supernet: TrainResult, jetson: tuple[str, ...]
) -> None:
    listed = (*jetson, "--shortlist", "3")
    refused(
        run(*listed, "--space", "tiny", "--resolution", "16", "--classes", "10"),
        "these are random (seed 0), not trained: name a supernet's with --weights.",
    )
    refused(run(*listed, "--weights", supernet.meta), "these are meta.safetensors: as they are: name a")
    refused(run(*listed, "--weights", supernet.weights, "--method", "ga"), "'ga' finds one network")
    tables = ("--latency-table", "jetson.json", "--accuracy-table", supernet.table_path)
    chosen = run("specialize", "--latency", "1ms", *tables, "--shortlist", "3")
    assert chosen.exit_code == 2
    assert "--shortlist: only with --device" in chosen.stderr


def test_without_torch_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponas_deploy.commands.train.bars.find_spec", lambda name: None)
    refused(run("train", "specialized", "PONAS-A", "--data", "digits"), "pip install 'ponas-deploy[train]'")
