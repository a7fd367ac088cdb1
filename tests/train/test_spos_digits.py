"""Both spaces of SPOS on the digits, from images to an engine that tells them apart, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import one_thread

from benchmarks.supernets import ceiling
from ponas_deploy.commands import app
from searchspace import build_space

# Short: random networks of it reach 60 to 80 % where the preset ends at about 90 %.
SHORT = ("first_epochs=5", "imitation_epochs=5", "epochs=3", "networks=20")


def said(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("space", ["spos-shufflenet", "spos-proxyless"])
def test_from_the_digits_to_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    run, engine = tmp_path / "run", tmp_path / "engine"
    settings = [part for each in SHORT for part in ("--set", f"single_path.{each}")]
    with one_thread():
        given = ("train", "--data", "digits", "--preset", "quick", "--space", space, "--device", "cpu")
        trained = said(*given, "--out", run, *settings)
        macs = ceiling(build_space(space, 32, 10), 0.5)
        found = said(
            "search", "--run", run, "--flops", f"{macs:.0f}", "--generations", 2, "--population", 6,
            "--parents", 3, "--torch-device", "cpu",
        )  # fmt: skip
    assert found["best"]["top1_pct"] > 50, "chance is 10"
    weights = Path(trained["weights"])
    emitted = said(
        "specialize", "--device", "cpu", "--backend", "onnxruntime", "--latency", "1s", "--time", 10,
        "--weights", weights, "--accuracy-table", trained["accuracy_table"], "--out", engine,
    )  # fmt: skip
    assert emitted["measured"]["p50_ms"] <= 1000
    seen = said("evaluate", engine / "manifest.json", "--weights", weights, "--engine", engine)
    assert seen["engine"]["top1_pct"] > 50
