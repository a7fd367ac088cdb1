"""`ponas` alone: where one stands and what to do next, of an empty store, a full one and broken files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from test_commands import ROOT
from typer.testing import CliRunner

from ponas_deploy.boards.book import Board, add_board, book_path
from ponas_deploy.checks.overview import age_days, overview
from ponas_deploy.commands import app
from ponas_deploy.commands.reports.overview import age
from ponas_deploy.engines.manifest import EngineFile, Manifest
from ponas_deploy.engines.manifest_file import write_manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.files.home import home
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.profiling.differences import differences_by_package
from ponas_deploy.tables.latency import Certificate, Conditions, NetworkLatency
from ponas_deploy.tables.measurement import Measurement
from searchspace import Architecture, build_space
from stored_tables import stored

SPACE = build_space("ponas")
HERE = this_machine().name
NOW = datetime.now(timezone.utc)
Ponas = Callable[..., str]
NETWORK = NetworkLatency(SPACE.labels[0], 2.0, 1.9, 1.95, Measurement(3, (1.95e6, 1.96e6)))
NETWORKS = (NETWORK,) * 24
PROFILE = "ponas profile --device cpu --backend onnxruntime --precision fp32 --space ponas"
RUN = json.dumps({"format": "ponas.training-run/1", "settings": {"data": "digits", "meta.epochs": 3}})


@pytest.fixture
def ponas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ponas:
    """What the command prints in a folder of its own, as wide as it is told."""
    monkeypatch.chdir(tmp_path)

    def printed(*options: str, columns: int = 80) -> str:
        found = CliRunner().invoke(app, list(options), env={"COLUMNS": str(columns)})
        assert found.exit_code == 0, found.output
        assert found.stderr == ""
        return found.stdout

    return printed


def document(ponas: Ponas) -> Any:
    return json.loads(ponas("--json"))


def commands(ponas: Ponas) -> list[str]:
    return [step["command"] for step in document(ponas)["next"]]


def a_table(device: str = HERE, **changes: object) -> str:
    """A sound table of a device in the store, made an hour ago; its name."""
    created = (NOW - timedelta(hours=1)).isoformat(timespec="seconds")
    sound = Certificate(0.9, 2.0, 3.0, 0.99, 0.5, 0.99, NETWORKS)
    return stored(SPACE, device, **{"created": created, "certificate": sound, **changes}).name


def an_engine(
    name: str, device: str = HERE, days: float = 1, *, trained: bool = True, ms: float | None = 2.5
) -> None:
    made = (NOW - timedelta(days=days)).isoformat(timespec="seconds")
    architecture = Architecture.from_indices(SPACE, (0,) * len(SPACE.layers))
    manifest = Manifest.of(architecture, Conditions(device, "onnxruntime", "fp32", 1, 1), "weights", made)
    timing = None if ms is None else EngineTiming(((round(ms * 1e6),) * 20,) * 3)
    files = (EngineFile("model.onnx", "0" * 64, 1), EngineFile("engine.onnx", "0" * 64, 1))
    told = replace(
        manifest,
        budget=(("latency_ms", 3.0),),
        measured=timing,
        trained=trained,
        engine_file="engine.onnx" if timing else "",
        files=files if timing else files[:1],
    )
    folder = Path("engines") / name
    folder.mkdir(parents=True)
    write_manifest(told, folder)


def test_an_empty_store_says_how_to_begin(ponas: Ponas) -> None:
    shown = ponas()
    assert HERE in shown
    assert "No latency table of this machine" in shown
    assert "ponas specialize --device cpu --latency 60%\n" in shown
    assert "ponas --help" in shown
    found = document(ponas)
    assert (found["tables"], found["engines"], found["runs"], found["unreadable"]) == ([], [], [], [])
    assert commands(ponas) == ["ponas doctor", "ponas specialize --device cpu --latency 60%"]


@pytest.mark.parametrize("columns", [80, 160])
def test_a_full_store(ponas: Ponas, columns: int) -> None:
    name = a_table()
    a_table("elsewhere")
    an_engine("mine")
    an_engine("fleet/jetson", "jetson", ms=None)
    add_board("jetson", Board(host="nvidia@jetson"))
    Path("runs/half").mkdir(parents=True)
    Path("runs/half/run.json").write_text(RUN)
    shown = ponas(columns=columns)
    assert max(map(len, shown.partition("What to do next")[0].splitlines())) <= columns
    lines = shown.splitlines()
    row = next(line for line in lines if name in line)
    assert row.split()[1:5] == ["1", "h", "0.9", "%"], row
    assert ("0.5 %" in row) == (columns == 160), "the noise floor, where there is room"
    assert "elsewhere" not in shown
    assert "met (3.000 ms)" in next(line for line in lines if "mine" in line)
    assert "not measured" in next(line for line in lines if "fleet/jetson" in line)
    assert "not asked yet" in shown
    assert "stopped" in next(line for line in lines if "half" in line)
    found = document(ponas)
    assert [one["name"] for one in found["tables"]] == [name]
    assert [(one["folder"], one["verdict"]) for one in found["engines"]] == [
        ("engines/fleet/jetson", ""),
        ("engines/mine", "met"),
    ]
    steps = commands(ponas)
    assert steps[0].startswith("ponas train --out runs/half"), "what was begun first"
    assert "ponas devices test jetson" in steps


def test_a_table_without_an_engine_says_the_command_that_makes_one(ponas: Ponas) -> None:
    a_table()
    assert commands(ponas) == ["ponas specialize --device cpu --latency 60% --space ponas"]
    an_engine("mine")
    assert commands(ponas) == ["ponas report --out report.html"]


def test_a_stale_table_says_the_command_that_makes_it_again(ponas: Ponas) -> None:
    name = a_table(environment=(*this_machine().environment(), ("runtime", "onnxruntime 0.1")))
    found = document(ponas)["tables"]
    assert [one["stale"] for one in found] == [True]
    assert "made with onnxruntime 0.1, here is onnxruntime" in found[0]["warnings"][0]
    assert f"{PROFILE} --force" in commands(ponas)
    shown = ponas()
    assert name in shown
    assert "here is onnxruntime" in shown


def test_the_version_of_a_runtime_is_that_of_its_package() -> None:
    """Nothing is loaded; a runtime that no package has the name of is taken to be what it was."""
    table = stored(SPACE, HERE)
    assert differences_by_package(table) == ()
    unknown = replace(table.table, environment=(*this_machine().environment(), ("runtime", "trtexec 10.3")))
    assert differences_by_package(replace(table, table=unknown)) == ()


def test_old_and_untrained_engines_say_what_mends_them(ponas: Ponas) -> None:
    a_table()
    an_engine("old", days=45)
    an_engine("random", trained=False)
    assert "ponas verify engines/old" in commands(ponas)
    assert "random weights" in ponas()


def test_a_table_that_is_warned_of_says_where_all_warnings_are(ponas: Ponas) -> None:
    name = a_table(certificate=Certificate(9.5, 25.0, 3.0, 0.61, 6.0, 0.6, NETWORKS))
    shown = " ".join(ponas(columns=160).split())
    assert "mean error 9.5 %" in shown
    assert f"ponas table check {name}" in shown
    an_engine("mine")
    assert "ponas profile --device cpu --backend onnxruntime --precision fp32 --space ponas" in commands(
        ponas
    )


def test_files_that_cannot_be_read_are_named_and_hide_nothing(ponas: Ponas) -> None:
    name = a_table()
    broken = home() / "latency" / HERE / "broken.json"
    broken.write_text("{")
    book_path().write_text("[jetson", encoding="utf-8")
    an_engine("mine")
    for folder, file in (("engines/bad", "manifest.json"), ("runs/bad", "run.json")):
        Path(folder).mkdir(parents=True)
        (Path(folder) / file).write_text("[]")
    found = document(ponas)
    for part in ("broken.json", "devices.toml", "engines/bad", "runs/bad"):
        assert sum(part in problem for problem in found["unreadable"]) == 1, part
    assert [one["name"] for one in found["tables"]] == [name]
    assert len(found["engines"]) == 1
    assert "Cannot be read" in ponas()


def test_names_cannot_command_the_terminal(ponas: Ponas) -> None:
    Path("runs/\x1b[2Jx").mkdir(parents=True)
    Path("runs/\x1b[2Jx/run.json").write_text(RUN)
    assert "\x1b" not in ponas()


def test_json_belongs_behind_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["--json", "describe", "PONAS-A"])
    assert found.exit_code == 2
    assert "behind the command" in found.stderr


def test_ages() -> None:
    assert [age(days) for days in (None, 0.001, 0.5, 1, 59, 100)] == [
        "?",
        "1 min",
        "12 h",
        "1 d",
        "59 d",
        "3 months",
    ]
    assert age_days("2026-01-01", datetime(2026, 1, 3, tzinfo=timezone.utc)) == 2
    assert age_days("no date", NOW) is None


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    """An empty store is told of without NumPy; a full one without a runtime, a link to a board or a space."""
    script = (
        "import sys; from pathlib import Path; from ponas_deploy.commands.overview import show_overview;"
        "show_overview(True);"
        "print([name for name in sys.argv[1:] if name in sys.modules], file=sys.stderr)"
    )
    names = [
        *("onnx", "onnxruntime", "openvino", "pandas", "torch", "scipy", "searchspace.spaces"),
        *(
            "ponas_deploy.backends",
            "ponas_deploy.boards.link",
            "ponas_deploy.measuring",
            "searchspace.spaces",
        ),
    ]
    for asked in ([*names, "numpy"], names):
        done = subprocess.run(
            [sys.executable, "-c", script, *asked],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.strip() == "[]"
        a_table()
        add_board("jetson", Board(host="nvidia@jetson"), overwrite=True)


def test_ages_are_counted_to_the_moment_that_is_given(tmp_path: Path) -> None:
    a_table(created="2026-01-01T00:00:00+00:00")
    found = overview(tmp_path, now=datetime(2026, 1, 11, tzinfo=timezone.utc))
    assert found.tables[0].age_days == 10
