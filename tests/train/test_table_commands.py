"""`ponas train table` and `ponas table certify` on a real run: kills, refusals, and figures counted again."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
scipy_stats = pytest.importorskip("scipy.stats", reason="the independent rank correlations")
from tiny_training import LABELS, META, SETTINGS, known, one_thread, space, splits

import train.data
from ponas_deploy.commands import app
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.networks_csv import read_networks
from searchspace import SPACES, Architecture, build_space
from searchspace.cost import count_macs, network_cost
from train.runs import train_run
from train.stages import side_of

Run = Callable[..., Result]
HERE = Path(__file__).resolve().parent

KILLED = f"""
import os, signal, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent.parent)!r}]
import pytest, torch
import tiny_training
from ponas_deploy.commands import app
from ponas_deploy.files.journal import Journal

torch.set_num_threads(1)
tiny_training.known(pytest.MonkeyPatch())
left, append = int(sys.argv[1]), Journal.append

def dying(journal, entry):
    global left
    left -= 1
    if left < 0:
        os.write(journal._file, b'{{"choices": ["k3')
        os.kill(os.getpid(), signal.SIGKILL)
    append(journal, entry)

Journal.append = dying
app(sys.argv[2:])
"""


@cache
def _trained() -> Path:
    folder = Path(mkdtemp()) / "run"
    train_run(replace(SETTINGS, meta=replace(META, epochs=20)), folder)
    return folder


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with one_thread():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of its own."""
    return Path(shutil.copytree(_trained(), tmp_path / "run"))


@pytest.fixture
def run() -> Run:
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def refused(result: Result, words: str, exit_code: int = 1) -> None:
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output + repr(result.exception)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_a_fitted_table_says_what_it_was_made_of(run: Run, folder: Path) -> None:
    found = document(run("train", "table", "--run", folder, "--networks", 30, "--seed", 2, "--json"))
    assert (found["method"], found["kind"], found["networks"]) == ("fitted", "accuracy", 30)
    table = load_accuracy_table(folder / "accuracy-fitted.json")
    assert found["table"] == str(folder / "accuracy-fitted.json")
    assert table.space == SpaceKey.of(space())
    origin, certificate = table.origin, table.certificate
    assert origin is not None
    assert (origin.method, origin.data, origin.images, origin.seed) == ("fitted", "blobs", 36, 2)
    assert dict(origin.epochs) == {"meta": 20, "fine_tune": 2}
    details = dict(origin.details)
    assert (details["networks"], details["calibration_images"]) == ("30", "512")
    assert details["cross_validated_tau"].startswith(f"{found['cross_validated_tau']:.4f}")
    assert certificate is not None
    assert (certificate.method, certificate.networks) == ("held out", 30)
    assert certificate.kendall_tau == pytest.approx(found["cross_validated_tau"])
    assert certificate.noise_pp > 0
    networks = read_networks(folder / "subnets-fit-2.csv")
    assert (networks.layers, len(set(networks.choices))) == (("1", "2", "3"), 30)
    assert {side_of(choices) for choices in networks.choices} == {"fit"}
    again = document(run("table", "fit", networks.path, "--out", folder / "again.json", "--json"))
    assert again["cross_validated_tau"] == pytest.approx(found["cross_validated_tau"], abs=0.1)


def test_fitted_losses_follow_what_the_networks_have_in_common(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: every network's hits come from a known sum over its blocks, the fit must find it."""
    import train.stages
    from train.progress import Evaluation
    from train.stages import Subnet

    worth = {label: index for index, label in enumerate(LABELS)}

    def planted(supernet: Any, networks: Any, *rest: Any) -> tuple[Subnet, ...]:
        errors = [
            5 * np.exp(0.1 * sum((layer + 1) * worth[x] for layer, x in enumerate(c))) for c in networks
        ]
        return tuple(
            Subnet(choices, Evaluation(100 - error, 100.0, 1.0, 36), (100 - error, 100 - error))
            for choices, error in zip(networks, errors, strict=True)
        )

    monkeypatch.setattr(train.stages, "evaluate_subnets", planted)
    found = document(run("train", "table", "--run", folder, "--networks", 40, "--json"))
    assert found["cross_validated_tau"] > 0.95
    loss = load_accuracy_table(Path(found["table"])).loss
    for layer, row in enumerate(loss.values):
        assert list(row) == sorted(row)
        step = (layer + 1) * row[3] / loss.values[0][3]
        assert row[3] / loss.values[0][3] == pytest.approx(layer + 1, rel=0.1), step


def test_the_progressive_table_is_the_runs_own(run: Run, folder: Path) -> None:
    found = document(run("train", "table", "--run", folder, "--method", "progressive", "--json"))
    assert load_accuracy_table(Path(found["table"])) == load_accuracy_table(folder / "accuracy.json")
    assert found["table"] == str(folder / "accuracy-progressive.json")
    refused(run("train", "table", "--run", folder, "--method", "progressive"), "exists already")


@pytest.mark.parametrize("appends", [1, 20])
def test_a_killed_evaluation_goes_on_and_ends_like_an_unbroken_one(
    run: Run, folder: Path, tmp_path: Path, appends: int
) -> None:
    given = ("--networks", "28", "--json")
    wanted = _unbroken(given)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(appends), "train", "table", "--run", str(folder), *given],
        capture_output=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert not (folder / "accuracy-fitted.json").exists()
    journal = (folder / "subnets-fit-0.journal").read_bytes()
    assert (journal.count(b"\n"), journal.endswith(b'"k3')) == (appends, True)
    resumed = run("train", "table", "--run", folder, *given)
    found = document(resumed)
    assert "continuing" in resumed.stderr or appends == 1
    name = "subnets-fit-0.csv"
    assert (folder / name).read_bytes() == (wanted / name).read_bytes()
    mine, others = (load_accuracy_table(one / "accuracy-fitted.json") for one in (folder, wanted))
    assert replace(mine, created="") == replace(others, created="")
    assert found["networks"] == 28


@cache
def _unbroken(given: tuple[str, ...]) -> Path:
    wanted = Path(shutil.copytree(_trained(), _trained().with_name("unbroken")))
    assert CliRunner().invoke(app, ["train", "table", "--run", str(wanted), *given]).exit_code == 0
    return wanted


def test_more_networks_add_to_those_that_are_there(run: Run, folder: Path) -> None:
    given = ("train", "table", "--run", folder, "--out", folder / "t.json", "--force", "--json")
    document(run(*given, "--networks", 20))
    first = (folder / "subnets-fit-0.csv").read_text()
    document(run(*given, "--networks", 26))
    longer = (folder / "subnets-fit-0.csv").read_text()
    assert (longer.startswith(first), len(longer.splitlines())) == (True, 27)
    enough = document(run(*given, "--time", 0))
    assert enough["networks"] == 24, "no time is left, but a fit needs 20: three groups of eight"


def test_a_certificate_is_what_the_networks_say(run: Run, folder: Path) -> None:
    path = folder / "accuracy.json"
    given = ("--run", folder, "--networks", 9, "--json")
    found = document(run("table", "certify", path, *given))
    table, networks = load_accuracy_table(path), read_networks(folder / "subnets-certify-0.csv")
    loss = [table.loss_pp(choices) for choices in networks.choices]
    macs = [network_cost(count_macs, Architecture(space(), choices)) for choices in networks.choices]
    certificate = table.certificate
    assert certificate is not None
    assert certificate.networks == found["networks"] == len(networks) == 9
    assert {side_of(choices) for choices in networks.choices} == {"certify"}
    assert certificate.kendall_tau == pytest.approx(-scipy_stats.kendalltau(loss, networks.values).statistic)
    assert certificate.spearman == pytest.approx(-scipy_stats.spearmanr(loss, networks.values).statistic)
    assert certificate.macs_tau == pytest.approx(scipy_stats.kendalltau(macs, networks.values).statistic)
    assert certificate.kendall_tau_low <= certificate.kendall_tau <= certificate.kendall_tau_high
    assert certificate.spearman_low is not None
    assert certificate.spearman_low <= certificate.spearman
    assert (certificate.method, certificate.made_on) == ("inherited", "blobs at 16 px, 36 validation images")
    assert 0 < certificate.noise_pp < 12
    assert found["table"] == str(path)
    before = (folder / "subnets-certify-0.csv").read_bytes()
    other = document(run("table", "certify", path, *given, "--out", folder / "copy.json"))
    assert {**other, "table": str(path)} == found
    assert (folder / "subnets-certify-0.csv").read_bytes() == before


def test_a_certified_table_shows_its_tau_wherever_its_origin_is_printed(run: Run, folder: Path) -> None:
    path = folder / "accuracy.json"
    report = run("table", "certify", path, "--run", folder, "--networks", 9).stdout
    assert "certificate: rank correlation" in report
    assert "MACs alone" in report
    assert f"written to {path}" in report
    certificate = load_accuracy_table(path).certificate
    assert certificate is not None
    tau = f"{certificate.kendall_tau:.2f}"
    assert f"rank correlation {tau}" in run("table", "show", path).stdout
    latency = folder / "latency.csv"
    names = ("1", "2", "3")
    rows = [f"{layer},{label},{index + 1}" for layer in names for index, label in enumerate(LABELS)]
    latency.write_text("layer,candidate,latency_ms\n" + "\n".join(rows) + "\n")
    given = ("--latency-table", latency, "--accuracy-table", path, "--latency", "9ms")
    line = next(x for x in run("specialize", *given).stdout.splitlines() if "Accuracy table" in x)
    assert "progressive on blobs at 16 px" in line
    assert f"tau {tau}" in line
    assert f"tau {tau}" in document(run("specialize", *given, "--json"))["accuracy_made_on"]


def test_weights_alone_certify_too(run: Run, folder: Path) -> None:
    given = ("table", "certify", folder / "accuracy.json", "--networks", 8, "--json")
    by_run = document(run(*given, "--run", folder))
    moved = folder.with_name("elsewhere") / "supernet.safetensors"
    moved.parent.mkdir()
    shutil.copy(folder / "weights.safetensors", moved)
    by_file = document(run(*given, "--weights", moved, "--data", "blobs"))
    assert by_file == by_run
    assert (moved.parent / "subnets-certify-0.csv").exists()


def test_what_does_not_belong_together_is_refused_before_anything_is_evaluated(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = folder / "accuracy.json"
    table = load_accuracy_table(own)
    certify = ("table", "certify")

    def variant(name: str, **changes: Any) -> Path:
        path = folder / name
        write_accuracy_table(replace(table, **changes), path)
        return path

    large = build_space("ponas", 16, 3)
    of_ponas = variant("ponas.json", space=SpaceKey.of(large))
    refused(
        run(*certify, of_ponas, "--run", folder), "is of space 'ponas' (f51223c53fd2ff79), but the weights"
    )
    of_ten = variant("ten.json", space=SpaceKey.of(space(32, 10)))
    refused(
        run(*certify, of_ten, "--run", folder), "is for 10 classes at 32 px, but the weights are for 3 at 16"
    )
    labels = tuple(("other", *row[1:]) for row in table.loss.candidates)
    grid = Grid(table.loss.layers, labels, table.loss.values)
    write_accuracy_table(AccuracyTable(grid), folder / "labels.json")
    refused(
        run(*certify, folder / "labels.json", "--run", folder),
        "candidate 'k3e3' is only in the weights' space",
    )
    monkeypatch.setitem(
        train.data.SOURCES, "five", lambda *_, **__: replace(splits(), classes=5, name="five")
    )
    given = ("--weights", folder / "weights.safetensors", "--data", "five")
    refused(run(*certify, own, *given), "tells 3 classes apart, but five has 5")
    refused(run(*certify, own, "--weights", folder / "meta.safetensors"), "holds one network")
    monkeypatch.setitem(SPACES, "tiny", lambda resolution, classes: replace(large, name="tiny"))
    refused(run(*certify, own, "--run", folder), "belongs to another version of space 'tiny'")
    assert not list(folder.glob("subnets-*"))


def test_usage_and_unfinished_runs(run: Run, folder: Path) -> None:
    own = folder / "accuracy.json"
    refused(run("table", "certify", own), "give one of --run, --weights and --evaluated", 2)
    refused(run("table", "certify", own, "--run", folder, "--weights", own), "give one of", 2)
    refused(run("train", "table", "--run", folder, "--method", "magic"), "unknown method of a table 'magic'")
    refused(run("train", "table", "--run", folder, "--out", "t.csv"), "name it .json", 2)
    own.unlink()
    words = "holds no finished run (accuracy.json is missing): `ponas train --out"
    refused(run("train", "table", "--run", folder), words)
    refused(run("table", "certify", _trained() / "accuracy.json", "--run", folder), words)
