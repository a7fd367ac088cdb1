"""`ponas table certify --evaluated` and the ties of a certified table, as other programs call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ponas_deploy.commands import app
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.networks_csv import Networks, read_networks, write_networks

Run = Callable[..., Result]
LAYERS, LABELS = ("one", "two", "three"), ("k3", "k5", "k7")
TOP1 = ((94.0, 94.6, 95.0), (90.0, 93.0, 95.0), (95.0, 94.9, 92.0))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    table = AccuracyTable.from_top1(Grid(LAYERS, (LABELS,) * 3, TOP1))
    write_accuracy_table(table, Path("t.json"))
    rng = np.random.default_rng(0)
    choices = tuple(tuple(rng.choice(LABELS, 3).tolist()) for _ in range(60))
    top1 = [80 - 2 * table.loss_pp(row) + rng.standard_normal() for row in choices]
    write_networks(
        Networks(Path("trained.csv"), LAYERS, choices, tuple(map(float, top1)), "accuracy", (2,) * 60)
    )
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def test_networks_trained_by_anyone_certify_a_table(run: Run) -> None:
    found = document(run("table", "certify", "t.json", "--evaluated", "trained.csv", "--json"))
    certificate = load_accuracy_table(Path("t.json")).certificate
    assert certificate is not None
    assert found == {
        **{name: getattr(certificate, name) for name in AccuracyCertificate.__slots__},  # type: ignore[attr-defined]
        "table": "t.json",
    }
    different = len(set(read_networks(Path("trained.csv")).choices))
    assert (certificate.method, certificate.made_on, certificate.networks) == (
        "trained",
        "trained.csv",
        different,
    )
    assert 0.6 < certificate.kendall_tau_low < certificate.kendall_tau < certificate.kendall_tau_high < 1
    assert 0.3 < certificate.noise_pp < 1.5
    assert certificate.macs_tau is None, "nobody knows what these labels are"
    report = run("table", "certify", "t.json", "--evaluated", "trained.csv", "--out", "other.json").stdout
    assert "networks trained on their own, trained.csv" in report
    assert load_accuracy_table(Path("other.json")).certificate == certificate


def test_a_file_is_not_written_over_and_a_csv_holds_no_certificate(run: Run) -> None:
    given = ("table", "certify", "t.json", "--evaluated", "trained.csv")
    Path("other.json").write_text("mine")
    refused = run(*given, "--out", "other.json")
    assert (refused.exit_code, Path("other.json").read_text()) == (1, "mine")
    assert run(*given, "--out", "other.json", "--force").exit_code == 0
    rows = [f"{layer},{label},0.{index}" for layer in LAYERS for index, label in enumerate(LABELS)]
    Path("t.csv").write_text("layer,candidate,loss_pp\n" + "\n".join(rows) + "\n")
    plain = run("table", "certify", "t.csv", "--evaluated", "trained.csv")
    assert plain.exit_code == 2
    assert "a CSV holds no certificate" in plain.stderr
    assert document(
        run("table", "certify", "t.csv", "--evaluated", "trained.csv", "--out", "c.json", "--json")
    )


def test_ties_are_shown_as_ties(run: Run) -> None:
    """Noise of 1 pp at 80 %: 0.54 pp at 94.6 %, by the binomial law; at 94 % it is 0.59 pp."""
    table = load_accuracy_table(Path("t.json"))
    certificate = AccuracyCertificate(60, 0.8, 0.7, 0.9, 0.9, 1.0, top1_pct=80.0)
    assert document(run("table", "show", "t.json", "--json"))["ties"] == [[], [], []]
    write_accuracy_table(replace(table, certificate=certificate), Path("t.json"), overwrite=True)
    assert document(run("table", "show", "t.json", "--json"))["ties"] == [["k5"], [], ["k5"]]
    shown = run("table", "show", "t.json").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["one", "94.00", "94.60=", "95.00*"] in lines
    assert ["two", "90.00", "93.00", "95.00*"] in lines
    assert ["three", "95.00*", "94.90=", "92.00"] in lines
    assert "= a tie with the best: the difference is below the noise of the evaluation" in shown
    losses = AccuracyTable(table.loss, certificate=certificate)
    write_accuracy_table(losses, Path("loss.json"))
    assert document(run("table", "show", "loss.json", "--json"))["ties"] == [["k5"], [], ["k5"]]
    at_one = replace(losses, certificate=replace(certificate, noise_pp=1.01))
    write_accuracy_table(at_one, Path("wide.json"))
    assert document(run("table", "show", "wide.json", "--json"))["ties"] == [["k3", "k5"], [], ["k5"]]


def test_a_latency_table_has_no_ties(run: Run) -> None:
    rows = [f"{layer},{label},1.{index}" for layer in LAYERS for index, label in enumerate(LABELS)]
    Path("l.csv").write_text("layer,candidate,latency_ms\n" + "\n".join(rows) + "\n")
    assert "ties" not in document(run("table", "show", "l.csv", "--json"))


def test_a_certificate_of_the_first_days_is_still_read(run: Run) -> None:
    path = Path("t.json")
    written = json.loads(path.read_text())
    written["certificate"] = {
        "networks": 24, "kendall_tau": 0.7, "kendall_tau_low": 0.5, "kendall_tau_high": 0.8,
        "spearman": 0.85, "noise_pp": 0.4,
    }  # fmt: skip
    path.write_text(json.dumps(written))
    certificate = load_accuracy_table(path).certificate
    assert certificate == AccuracyCertificate(24, 0.7, 0.5, 0.8, 0.85, 0.4)
    assert (
        "rank correlation 0.70 (0.50 to 0.80) with 24 networks, noise 0.4"
        in run("table", "show", path).stdout
    )
    write_accuracy_table(load_accuracy_table(path), Path("again.json"))
    assert json.loads(Path("again.json").read_text())["certificate"] == written["certificate"]
    written["certificate"]["macs_tau"] = "high"
    path.write_text(json.dumps(written))
    assert "certificate.macs_tau: is 'high', expected a finite number" in run("table", "show", path).stderr
