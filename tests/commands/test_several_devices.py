"""Several `--device`: one network for all or one each, on the shipped tables under other devices' names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.commands.app import app
from ponas_deploy.commands.schema import printed_type
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.files.documents import encoded
from ponas_deploy.files.home import home
from ponas_deploy.tables.store import SHIPPED

BOARDS = {"amd-epyc-2c": "board-a", "intel-xeon-2c": "board-b"}
PONAS = ("--space", "ponas")
BOTH = ("--device", "board-a", "--device", "board-b")


@pytest.fixture(autouse=True)
def _boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No board is called as the machine that the tests run on may be."""
    monkeypatch.chdir(tmp_path)
    for name, board in BOARDS.items():
        folder = home() / "latency" / board
        folder.mkdir(parents=True)
        for path in sorted((SHIPPED / "latency" / name).glob("*.json")):
            text = path.read_text(encoding="utf-8").replace(json.dumps(name), json.dumps(board))
            (folder / path.name).write_text(text, encoding="utf-8")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def document(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


ROBUST = ("specialize", *BOTH, *PONAS, "--robust")


def test_one_network_keeps_the_budget_of_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ("--latency", "board-a=2.5ms", "--latency", "board-b=9ms")
    found = document(*ROBUST, *limits, "--out", "out")
    kind = printed_type("ponas_deploy.commands.documents.fleet:fleet_document_type")
    assert json.loads(json.dumps(encoded(msgspec.convert(found, kind)))) == found
    shared, engines = found["shared"], found["engines"]
    assert shared["optimal"]
    assert [one["device"] for one in shared["devices"]] == ["board-a", "board-b"]
    for one, engine, limit_ms in zip(shared["devices"], engines, (2.5, 9.0), strict=True):
        assert one["budget"] == {"latency_ms": limit_ms}
        assert one["margin"] * one["predicted_ms"] <= limit_ms
        assert one["cost_points"] == pytest.approx(one["shared_loss_pp"] - one["own_loss_pp"])
        assert one["cost_points"] >= 0
        assert engine["choices"] == shared["choices"]
        assert engine["engine"] == str(Path("out") / one["device"])
        assert engine["measured"] is None
        manifest = read_manifest(Path("out") / one["device"])
        assert (manifest.choices, manifest.budget_ms) == (tuple(shared["choices"]), limit_ms)
        assert manifest.conditions.device == one["device"]
        assert dict(manifest.predicted)["predicted_ms"] == one["predicted_ms"]
    alone = document("specialize", "--device", "board-a", *PONAS, "--latency", "2.5ms", "--out", "alone")
    assert alone["predicted_loss_pp"] == shared["devices"][0]["own_loss_pp"]
    assert alone["choices"] == shared["devices"][0]["own_choices"]
    again = run(*ROBUST, *limits, "--out", "out")
    assert again.exit_code == 1
    assert "--force" in again.stderr
    monkeypatch.setenv("COLUMNS", "80")
    report = run(*ROBUST, *limits, "--out", "out", "--force")
    assert report.exit_code == 0, report.output
    for words in ("what sharing costs", "board-a", "openvino bf16", "own best,", "2.500", "9.000"):
        assert words in report.stdout
    assert "…" not in report.stdout, "80 columns are enough"
    assert sorted(path.name for path in Path("out").iterdir()) == ["board-a", "board-b"]


def test_without_robust_each_device_gets_its_own() -> None:
    found = document("specialize", *BOTH, *PONAS, "--latency", "board-a=2.6ms", "--latency", "60%")
    assert found["shared"] is None
    folder = Path("engines") / "board-a-board-b-60-of-the-most-that-helps-2p6-ms"
    assert [one["engine"] for one in found["engines"]] == [str(folder / name) for name in BOARDS.values()]
    assert len({tuple(one["choices"]) for one in found["engines"]}) == 2


def test_the_engines_of_the_others_are_shown_where_a_device_fails() -> None:
    limits = ("--latency", "board-a=100us", "--latency", "board-b=9ms", "--out", "out")
    done = run("specialize", *BOTH, *PONAS, *limits, "--json")
    assert done.exit_code == 1, done.output
    (engine,) = json.loads(done.stdout)["engines"]
    assert engine["engine"] == str(Path("out") / "board-b")
    said = " ".join(done.stderr.split())
    assert "error: board-a: no architecture meets 0.1 ms" in said
    assert said.endswith(f"Made for the others: {Path('out') / 'board-b'}.")
    report = run("specialize", *BOTH, *PONAS, *limits, "--force")
    assert report.exit_code == 1
    assert "board-b" in report.stdout
    none = run("specialize", *BOTH, *PONAS, "--latency", "100us", "--out", "none", "--json")
    assert (none.exit_code, none.stdout) == (1, "")
    assert "board-b: no architecture meets" in none.stderr


def test_named_tables_go_to_their_own_device() -> None:
    name = "board-a/onnxruntime-fp32-t1-b1-ponas-224px-1000c"
    found = document(*ROBUST, "--latency", "60%", "--latency-table", name, "--out", "out")
    assert found["engines"][0]["device"]["backend"] == "onnxruntime"
    other = "intel-xeon-2c/openvino-fp32-t1-b1-ponas-224px-1000c"
    refused = run(*ROBUST, "--latency", "60%", "--latency-table", other, "--out", "other")
    assert refused.exit_code == 1
    assert "is of device intel-xeon-2c, not board-a or board-b" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*ROBUST, "--latency", "0.9ms"), 1, "no architecture meets 0.9 ms on board-"),
        (
            (*ROBUST, "--latency", "board-a=1s", "--latency", "board-b=100us"),
            1,
            "0.1 ms on board-b: the fastest",
        ),
        ((*ROBUST, "--latency", "toaster=3ms"), 2, "a limit is of device toaster, which no --device names"),
        ((*ROBUST, "--latency", "board-a=3ms", "--fps", "board-a=9"), 2, "latency_ms is limited twice"),
        ((*ROBUST, "--latency", "3ms", "--method", "ga"), 1, "found by the exact search"),
        (("specialize", *BOTH[:2], *BOTH, *PONAS, "--latency", "3ms"), 1, "board-a is named twice"),
        (
            ("specialize", *BOTH[:2], "--robust", "--latency", "3ms"),
            2,
            "--robust: only with several --device",
        ),
        (("specialize", "--latency", "board-a=3ms"), 2, "a limit is of device board-a: only with --device"),
        ((*ROBUST, "--device", "toaster", "--latency", "3ms"), 1, "unknown device 'toaster'"),
    ],
)
def test_bad_input_ends_in_a_sentence(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.replace("│", " ").split())
    assert not Path("engines").exists() or not list(Path("engines").iterdir())


def test_the_fronts_of_devices_stand_side_by_side() -> None:
    files = sorted((home() / "latency").rglob("*.json"))
    assert len(files) == 5
    found = document("pareto", *BOTH, *PONAS)
    named = document("pareto", *(word for path in files for word in ("--latency-table", str(path))))
    assert found == named
    few = run("pareto", *BOTH, *PONAS, "--precision", "fp32", "--backend", "openvino")
    assert few.exit_code == 0, few.output
    assert "board-a" in few.stdout
    assert "board-b" in few.stdout
    assert "bf16" not in few.stdout
    beside = document("pareto", *BOTH[:2], "--latency-table", str(files[-1]))
    assert len(beside["fronts"]) == 4, "the space is that of the table"


def test_networks_are_predicted_on_the_tables_of_devices() -> None:
    files = sorted((home() / "latency").rglob("*.json"))
    words = [word for path in files for word in ("--latency-table", str(path))]
    assert document("compare", "PONAS-A", "PONAS-C", *BOTH) == document(
        "compare", "PONAS-A", "PONAS-C", *words
    )
    report = run("compare", "PONAS-A", *BOTH, "--precision", "fp32")
    assert report.exit_code == 0, report.output
    assert "board-b" in report.stdout
    assert "bf16" not in report.stdout


def test_published_networks_of_other_families_are_compared_only_where_they_are_measured() -> None:
    done = run("compare", "MobileNetV3-Large", *BOTH)
    assert done.exit_code == 1
    table = str(min((home() / "latency").rglob("*.json")))
    done = run("compare", "MobileNetV3-Large", "--latency-table", table)
    assert (done.exit_code, "belongs to space" in done.output) == (1, True)
    assert "only here also published ones of any" in " ".join(run("compare", "--help").output.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("pareto", *BOTH), 1, "and --space ponas takes those of that space"),
        (("pareto", "--device", "toaster"), 1, "unknown device 'toaster'"),
        (
            ("pareto", "--device", "cpu", "--batch", "3", *PONAS),
            1,
            "`ponas profile --device cpu --space ponas --resolution 224 --classes 1000`",
        ),
        (("pareto",), 2, "name a --latency-table, or a --device that has some"),
        (("pareto", "--latency-table", "t.json", "--batch", "2"), 2, "--batch: only with --device"),
        (("compare", "PONAS-A", *BOTH, "--latency", "4ms"), 2, "--latency: only with --device of this"),
        (("compare", *BOTH), 1, "is not this machine: `ponas devices add board-a --host"),
    ],
)
def test_tables_of_devices_that_are_not_there(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.replace("│", " ").split())
