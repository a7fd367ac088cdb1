"""`ponas search` on a real run: scores, images, kills, limits, refusals, and what is printed."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import LABELS, META, SETTINGS, known, one_thread, space, splits

import train.data
from ponas_deploy.commands import app
from ponas_deploy.commands.schema import PRINTED, printed_type
from ponas_deploy.engines.evolution_search import evolution_search
from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.files.journal import Journal
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.evolution import EvolutionSettings
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.latency import ESTIMATE, Conditions
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.networks_csv import read_networks
from searchspace import Architecture
from searchspace.cost import count_macs, network_cost
from spos_layout import SHUFFLE_LABELS, MMRazorNetwork, lively
from stored_tables import stored
from train.compute import WHOLE, Share
from train.data import Batch, Images, TensorImages
from train.progress import Pace, TrainingProgress
from train.runs import SubnetEvaluator, open_run, train_run

Run = Callable[..., Result]
HERE = Path(__file__).resolve().parent
EVERY = tuple(product(LABELS, repeat=3))
SIZE = ("--generations", "4", "--population", "8", "--parents", "3")
MS = tuple(tuple((layer + 1) * (1.0 + place) for place in range(4)) for layer in range(3))
"""Latencies of the candidates: no two layers have the same."""

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
def run(folder: Path) -> Run:
    """`ponas search` in that run."""
    return lambda *arguments: CliRunner().invoke(
        app, ["search", "--run", str(folder), *SIZE, *map(str, arguments)]
    )


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return json.loads(result.stdout)


def refused(result: Result, words: str, exit_code: int = 1) -> None:
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output + repr(result.exception)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def macs(choices: tuple[str, ...]) -> float:
    return network_cost(count_macs, Architecture(space(), choices))


def middle() -> int:
    """A ceiling that half of all networks meet."""
    return int(sorted(map(macs, EVERY))[len(EVERY) // 2])


def latency_ms(choices: tuple[str, ...]) -> float:
    return 0.5 + sum(row[LABELS.index(label)] for row, label in zip(MS, choices, strict=True))


def evaluated(found: Any) -> dict[tuple[str, ...], float]:
    networks = read_networks(Path(found["networks"]))
    assert len(set(networks.choices)) == len(networks) == found["evaluations"]
    return dict(zip(networks.choices, networks.values, strict=True))


def test_a_score_is_what_evaluate_says_of_the_network(run: Run, folder: Path) -> None:
    found = document(run("--flops", middle(), "--json"))
    scores = evaluated(found)
    assert all(macs(choices) <= middle() for choices in scores)
    assert found["best"]["top1_pct"] == max(scores.values())
    assert len(set(scores.values())) > 3
    off = 0.0
    for choices in sorted(scores)[::4]:
        given = ("--weights", str(folder / "weights.safetensors"), "--split", "validation", "--json")
        alone = document(CliRunner().invoke(app, ["evaluate", ",".join(choices), *given]))
        off += abs(alone["top1_pct"] - scores[choices])
    assert off <= 100 / 36 + 1e-9, "rounding moves no more than one image of all"


def test_no_candidate_leaves_statistics_to_the_next(run: Run, folder: Path, tmp_path: Path) -> None:
    scores = evaluated(document(run("--params", "1G", "--json")))
    opened = open_run(read_file(folder / "weights.safetensors"), None, lambda progress: None)
    with SubnetEvaluator(opened, tmp_path / "other.journal", {}, 0, "cpu") as evaluator:
        for choices in reversed(scores):
            assert evaluator.entries([choices])[0]["top1_pct"] == scores[choices]


@dataclass
class Watched:
    """Images that keep what was read of them."""

    images: Images
    seen: list[int] = field(default_factory=list)

    @property
    def labels(self) -> torch.Tensor:
        return self.images.labels

    def batches(
        self, size: int, order: torch.Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        batches = list(self.images.batches(size, order, augment, share))
        self.seen.append(hash(tuple(torch.cat([images for images, _ in batches]).flatten().tolist())))
        yield from batches


def test_all_networks_see_the_same_images_and_none_those_of_the_test(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = splits(SETTINGS.seed)
    parts = {name: Watched(getattr(plain, name)) for name in ("train", "validation", "test")}
    monkeypatch.setitem(train.data.SOURCES, "blobs", lambda *_, **__: replace(plain, **parts))
    document(run("--params", "1G", "--json"))
    assert parts["test"].seen == []
    for name in ("train", "validation"):
        assert len(parts[name].seen) >= 4
        assert len(set(parts[name].seen)) == 1, name


def test_a_search_that_was_killed_ends_like_an_unbroken_one(run: Run, folder: Path, tmp_path: Path) -> None:
    given = ("--flops", str(middle()), "--seed", "3", "--json")
    rng, kills, finished, grown = random.Random(2), 0, False, [0]
    networks = folder / f"search-macs-{middle()}-3.csv"
    while not finished:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED,
                str(rng.randrange(2, 12)),
                "search",
                "--run",
                folder,
                *SIZE,
                *given,
            ],
            capture_output=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            check=False,
        )
        finished = done.returncode == 0
        if not finished:
            kills += 1
            assert done.returncode == -9, done.stderr
            assert (folder / "search-3.journal").read_bytes().endswith(b'"k3')
            grown.append(len(read_networks(networks)) if networks.exists() else 0)
    assert kills >= 2
    assert grown == sorted(grown)
    assert 0 < grown[-1] < len(read_networks(networks)), "written after each generation"
    unbroken = Path(shutil.copytree(_trained(), tmp_path / "unbroken"))
    wanted = document(CliRunner().invoke(app, ["search", "--run", str(unbroken), *SIZE, *given]))
    assert json.loads(done.stdout) == {**wanted, "networks": str(networks)}
    lines = [json.loads(line) for line in (folder / "search-3.journal").read_text().splitlines()[1:]]
    choices = [tuple(line["choices"]) for line in lines]
    assert len(set(choices)) == len(choices) == wanted["evaluations"], "nothing was evaluated twice"


def test_a_search_within_other_limits_takes_what_is_known(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluated(document(run("--flops", middle(), "--json")))
    appended: list[tuple[str, ...]] = []
    append = Journal.append
    monkeypatch.setattr(
        Journal,
        "append",
        lambda journal, entry: (appended.append(tuple(entry["choices"])), append(journal, entry)),
    )
    again = run("--flops", middle(), "--json")
    assert (evaluated(document(again)), appended) == (first, [])
    assert "continuing" in again.stderr
    wider = evaluated(document(run("--params", "1G", "--json")))
    assert not set(appended) & set(first)
    assert set(appended) == set(wider) - set(first)
    kept = read_networks(folder / f"search-macs-{middle()}-0.csv")
    assert dict(zip(kept.choices, kept.values, strict=True)) == first, "each budget has a file of its own"


def test_the_front_and_what_is_printed_are_as_declared(run: Run) -> None:
    found = document(run("--flops", middle(), "--json"))
    (kind,) = (printed_type(place) for place in PRINTED["search"])
    again = msgspec.to_builtins(msgspec.convert(found, kind))
    assert json.loads(json.dumps(again)) == found
    scores = evaluated(found)
    costs = [one["costs"]["macs"] for one in found["front"]]
    tops = [one["top1_pct"] for one in found["front"]]
    assert (costs, tops) == (sorted(costs), sorted(tops))
    assert len(set(tops)) == len(tops)
    assert found["front"][-1] == found["best"]
    for choices, top1 in scores.items():
        assert any(a <= macs(choices) and b >= top1 for a, b in zip(costs, tops, strict=True))
    shown = run("--flops", middle())
    assert f"tiny: {len(scores)} networks evaluated; no other one beats these" in shown.stdout
    assert f"best: {found['best']['text']}" in shown.stdout
    assert "predicted latency" not in shown.stdout
    assert f"next: ponas train specialized {found['best']['text']} --weights" in shown.stderr


def test_a_line_of_the_journal_without_a_network_is_named(run: Run, folder: Path) -> None:
    entries = document(run("--flops", middle(), "--json"))["evaluations"]
    with (folder / "search-0.journal").open("a") as journal:
        journal.write('{"foo": 1}\n')
    refused(run("--flops", middle()), f"search-0.journal, line {entries + 2}, choices: is missing")


@pytest.mark.parametrize(("asked", "other"), [("--mutants", "crossovers"), ("--crossovers", "mutants")])
def test_children_of_one_kind_fill_what_those_of_the_other_leave(run: Run, asked: str, other: str) -> None:
    document(run("--params", "1G", asked, "7", "--json"))
    refused(run("--params", "1G", asked, "9"), f"0 {other}" if other == "crossovers" else f"0 {other} and 9")


@pytest.mark.parametrize("source", ["csv", "named", "device", "this machine"])
def test_latency_is_limited_by_a_table(run: Run, tmp_path: Path, source: str) -> None:
    """Of a file whose layers and candidates come in another order, of one of ours, of a device's own."""
    if source == "csv":
        cells = [(2 - layer, 3 - place) for layer in range(3) for place in range(4)]
        rows = [f"{layer + 1},{LABELS[place]},{MS[layer][place]}" for layer, place in cells]
        path = tmp_path / "latency.csv"
        path.write_text("\n".join(["layer,candidate,latency_ms", ",fixed,0.5", *rows]) + "\n")
        given = ["--latency-table", str(path)]
    else:
        device = "board" if source == "device" else this_machine().name
        made = stored(space(), device, grid=Grid.over(space(), MS, 0.5))
        by_source = {"named": ["--latency-table", str(made.path)], "device": ["--device", "board"]}
        given = by_source.get(source, [])
    result = run("--latency", "12ms", *given, "--json")
    found = document(result)
    assert ("latency by table" in result.stderr) == (source in ("device", "this machine"))
    for choices in evaluated(found):
        assert latency_ms(choices) <= 12.0
    best = found["best"]
    assert best["predicted_ms"] == pytest.approx(latency_ms(tuple(best["choices"])))
    assert "latency_ms" not in best["costs"], "what is predicted does not stand among what is counted"
    assert "predicted latency" in run("--latency", "12ms", *given).stdout


def test_searches_by_different_latency_tables_keep_files_of_their_own(run: Run, folder: Path) -> None:
    files = []
    for name, grid in (("board", MS), ("board", MS), ("other", MS), ("board", [row[::-1] for row in MS])):
        stored(space(), name, grid=Grid.over(space(), grid, 0.5))
        found = document(run("--latency", "12ms", "--device", name, "--json"))
        assert len(read_networks(Path(found["networks"]))) == found["evaluations"]
        files.append(Path(found["networks"]).name)
    assert files[0] == files[1]
    assert len(set(files)) == 3
    assert [name.startswith("search-latency_ms-12-board-") for name in files] == [True, True, False, True]


def test_what_cannot_be_met_is_refused_before_anything_is_evaluated(run: Run, folder: Path) -> None:
    stored(space(), "board", grid=Grid.over(space(), MS, 0.5))
    refused(run("--flops", "1K"), "no architecture meets 0.001 M MACs: the cheapest one takes")
    refused(
        run("--latency", "2ms", "--device", "board"),
        "no architecture meets 2 ms on board: the fastest one takes 6.5 ms. Ask for 6.5 ms or more.",
    )
    stored(space(), "other", grid=Grid.over(space(), [row[::-1] for row in MS], 0.5))
    least = int(min(map(macs, EVERY)))
    refused(
        run("--latency", "6.5ms", "--flops", least, "--device", "other"),
        "together, though each alone can be met: loosen one of them.",
    )
    assert not list(folder.glob("search-*"))


def test_what_speaks_against_a_latency_table_is_said_as_by_specialize(run: Run, tmp_path: Path) -> None:
    foreign = tmp_path / "latency.csv"
    cells = [(layer, place) for layer in range(3) for place in range(4)]
    rows = [f"{layer + 1},{LABELS[place]},{1000 * MS[layer][place]}" for layer, place in cells]
    foreign.write_text("\n".join(["layer,candidate,latency_ms", ",fixed,500", *rows]) + "\n")
    given = ("--latency-table", str(foreign))
    refused(run("--latency", "12ms", *given), "is the table in microseconds?")
    assert "is the table in seconds?" in run("--latency", "100000000ms", *given).stderr
    estimate = Conditions("board", ESTIMATE, "fp32", 1, 1)
    made = stored(space(), "board", grid=Grid.over(space(), MS, 0.5), conditions=estimate)
    done = run("--latency", "12ms", "--latency-table", str(made.path))
    assert "estimated" in done.stderr


def test_what_does_not_belong_together_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    refused(run(), "no budget was given: ask for --latency")
    refused(run("--latency", "60%"), "a search has no table that tells it, ask for a time or a count")
    refused(run("--latency", "5ms"), "`ponas profile --device cpu --space tiny --resolution 16 --classes 3`")
    refused(
        run("--flops", "1G", "--space", "ponas"), "--space ponas was asked for, but the weights are for tiny"
    )
    refused(run("--flops", "1G", "--population", "4", "--mutants", "5"), "5 mutants and 0 crossovers")
    refused(run("--latency", "board=5ms"), "one limit is for all", 2)
    other = replace(stored(space(), "board").table, space=SpaceKey.of(space(32, 10)))
    write_latency_table(other, tmp_path / "other.json")
    refused(
        run("--latency", "5ms", "--latency-table", tmp_path / "other.json"),
        "the latency table is of space 'tiny' at 32 px with 10 classes, the supernet",
    )
    one = ("search", "--run", str(folder / "meta.safetensors"), "--flops", "1G")
    refused(CliRunner().invoke(app, one), "holds one network")
    assert not list(folder.glob("search-*"))


def test_a_supernet_of_mmrazors_is_searched_and_its_images_are_not_known_to_be_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, parts = torch.Generator().manual_seed(0), []
    for count in (4, 6, 2):
        images = torch.randn(count, 3, 224, 224, generator=random)
        parts.append(TensorImages(images, torch.arange(count) % 3, lambda images, random: images))
    few = replace(splits(), train=parts[0], validation=parts[1], test=parts[2], resolution=224)
    monkeypatch.setitem(train.data.SOURCES, "few", lambda resolution, seed, workers: few)
    theirs, path = lively(MMRazorNetwork([SHUFFLE_LABELS] * 20, 3)), tmp_path / "sup.pth"
    torch.save({"state_dict": {f"architecture.{k}": v for k, v in theirs.state_dict().items()}}, path)
    given = ("--run", str(path), "--data", "few")
    size = ("--generations", "1", "--population", "2", "--parents", "1", "--json")
    done = CliRunner().invoke(app, ["search", *given, "--flops", "330M", *size])
    found = document(done)
    assert (found["space"], len(evaluated(found))) == ("spos-shufflenet", 2)
    assert Path(found["networks"]).parent == tmp_path
    assert "does not say which images its training held out" in " ".join(done.stderr.split())


def test_a_search_says_how_far_it_is(folder: Path) -> None:
    opened = open_run(read_file(folder / "weights.safetensors"), None, lambda progress: None)
    how = EvolutionSettings(generations=3, population=6, parents=3, mutants=3, crossovers=3)
    reports: list[TrainingProgress] = []
    found = evolution_search(opened, Budget(params=1e9), None, how, device="cpu", on_progress=reports.append)
    done = [report.done for report in reports]
    assert (done, done[-1]) == (sorted(done), 18)
    assert {(report.stage, report.total) for report in reports} == {("search", 18)}
    assert reports[0].text == "generation 1 of 3"
    assert dict(reports[-1].metrics) == {"best_top1_pct": found.best.top1_pct}
    clock, pace = iter(range(10**6)), Pace(lambda: float(next(clock)))
    left = [pace.see(report).left_s for report in reports]
    assert left[-1] == 0
    again: list[TrainingProgress] = []
    evolution_search(opened, Budget(params=1e9), None, how, device="cpu", on_progress=again.append)
    assert [report.done for report in again] == [18], "what was known takes no time"
