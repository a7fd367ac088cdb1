"""Folders of runs that are broken or hostile: `ponas train status` reads them or refuses in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from ponas_deploy.commands import app
from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import read_document, write_document
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.grid import Grid
from train.files import SPECIALIZED, lock, read_log, read_status
from train.progress import LayerRow
from train.settings import TrainSettings, assigned

ROOT = Path(__file__).resolve().parent.parent.parent
HEADER = "time,seconds,stage,at,step,steps,loss,validation_top1_pct,lr,images_per_s,left_s"
LINE = "2026-11-28T10:00:00+00:00,12.5,meta,epoch 1 of 3,4,12,1.5,40.2,0.1,320.5,25"
ROW = {"layer": "1", "labels": ["a", "b"], "top1_pct": [40, 50.5], "cross_entropy": [1.5, 1], "chosen": "b"}

# As version 0.1.0 wrote it.
RUN = """{
 "format": "ponas.training-run/1",
 "settings": {
  "data": "digits",
  "resolution": null,
  "seed": 0,
  "precision": "auto",
  "meta.epochs": 16,
  "meta.lr": 0.05,
  "meta.decay_at": [0.4, 0.8],
  "meta.augment": true,
  "fine_tune.cache_mib": 2048,
  "fingerprint": "0123456789abcdef",
  "images": [988, 449, 360]
 }
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An unfinished run: its first layer is done."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(RUN)
    (folder / "log.csv").write_text(f"{HEADER}\n{LINE}\n")
    network(folder, json.dumps([ROW]))
    return folder


def network(folder: Path, rows: str) -> None:
    header = {"format": "ponas.weights/1", "layout": "network", "rows": rows}
    save_file({"stem": np.zeros(1, np.float32)}, folder / "network.safetensors", header)


def status(folder: Path, *options: str) -> tuple[int, str]:
    """The exit code of `ponas train status` and what it printed; a traceback is raised."""
    done = CliRunner().invoke(app, ["train", "status", str(folder), *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout + done.stderr


def test_a_run_as_version_0_1_0_wrote_it_is_read(run: Path) -> None:
    found = read_status(run)
    assert found.settings == ("meta.epochs=16", "meta.lr=0.05")
    assert (found.stage, found.best_top1_pct, found.left_s) == ("meta", 40.2, 25.0)
    assert found.table is not None
    assert found.table.top1 is not None
    assert found.table.top1.values == ((40.0, 50.5),)
    assert status(run, "--json")[0] == status(run)[0] == 0


def settings(**changed: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        document = json.loads(RUN)
        document["settings"].update({name.replace("__", "."): value for name, value in changed.items()})
        (run / "run.json").write_text(json.dumps(document))

    return change


def log(line: str) -> Callable[[Path], None]:
    return lambda run: (run / "log.csv").write_bytes(f"{HEADER}\n{line}\n".encode("latin-1")) and None


def rows(text: str) -> Callable[[Path], None]:
    return lambda run: network(run, text)


def fifo(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text(content) and None


BROKEN = {
    "NaN": (
        settings(fine_tune__cache_mib=float("nan")),
        r"settings.fine_tune.cache_mib: is nan, expected",
    ),
    "endless": (
        text("run.json", RUN.replace("2048", "1e400")),
        r"cache_mib: is inf, expected a finite",
    ),
    "digits": (text("run.json", RUN.replace("2048", "9" * 5000)), r"run.json: is not JSON that can be read"),
    "half a letter": (
        settings(data="\ud800"),
        r"run.json: is not JSON .* \(half of a character",
    ),
    "an object": (settings(data={"a": 1}), r"run.json, settings.data: is an object, expected "),
    "nested": (text("run.json", RUN.replace("2048", "[" * 5000 + "]" * 5000)), r"nested more than 64 deep"),
    "a list": (text("run.json", "[]"), r"run.json: is a list, expected an object"),
    "newer": (text("run.json", RUN.replace("run/1", "run/9")), r"is version 9, this program reads up to 1"),
    "no seconds": (log(LINE.replace("12.5", "", 1)), r"log.csv, line 2: is no line of a training log"),
    "endless seconds": (
        log(LINE.replace("12.5", "inf", 1)),
        r"log.csv, line 2, seconds: is inf, expected",
    ),
    "nan seconds": (
        log(LINE.replace("12.5", "nan", 1)),
        r"log.csv, line 2, seconds: is nan, expected",
    ),
    "too many seconds": (
        log(LINE.replace("12.5", "1e300", 1)),
        r"line 2, seconds: is 1e\+300, expected 1",
    ),
    "no steps": (log(LINE.replace(",12,", ",0,")), r"log.csv, line 2, steps: is 0, expected 1 or more"),
    "no zone": (log(LINE.replace("+00:00", "")), r"log.csv, line 2: is no line of a training log"),
    "latin-1": (log(LINE.replace("epoch", "\xe9poque")), r"log.csv, byte \d+: is not text"),
    "200 KB": (log(LINE.replace("epoch", "e" * 200_000)), r"log.csv, line 2: is no line of CSV"),
    "no rows": (rows("[1]"), r"network.safetensors, rows\[0\]: is 1, expected an object"),
    "nested rows": (rows("[" * 5000 + "]" * 5000), r"network.safetensors, rows: .*nested more than 64 deep"),
    "no values": (
        rows(json.dumps([{**ROW, "top1_pct": []}])),
        r"rows\[0\]: layer 1 has another number of",
    ),
    "no candidate": (rows(json.dumps([{**ROW, "chosen": "c"}])), r"'c' is no candidate of layer 1"),
    "140 %": (rows(json.dumps([{**ROW, "top1_pct": [40, 140]}])), r"is 140, expected 100 or less"),
    **{
        f"pipe {name}": (fifo(name), rf"{name}: cannot be read: it is a pipe, expected a regular file")
        for name in ("run.json", "log.csv", "network.safetensors", "run.lock", "accuracy.json")
    },
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_is_broken_is_refused_in_words(run: Path, case: str, options: tuple[str, ...]) -> None:
    change, message = BROKEN[case]
    change(run)
    code, printed = status(run, *options)
    assert code == 1
    with pytest.raises(PonasError, match=message):
        read_status(run)
    assert printed.startswith("error: ")


def test_escape_codes_do_not_reach_the_terminal(run: Path) -> None:
    settings(data="\x1b]0;owned\x07")(run)
    log(LINE.replace("epoch", "\x1b[31m"))(run)
    code, printed = status(run)
    assert code == 0
    assert "\x1b" not in printed
    assert r"\x1b]0;owned\x07" in printed


@pytest.mark.parametrize("name", ["n" * 5000, "loop"])
def test_a_folder_that_cannot_be_looked_into(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, printed = status(tmp_path / name)
    assert code == 1
    assert printed.startswith("error: ")


@pytest.mark.parametrize("content", ["{", "[" * 3000, '{"pid": "x", "host": 1, "since": null}', "\xe9", ""])
def test_a_lock_that_says_nothing_still_locks(tmp_path: Path, content: str) -> None:
    with lock.held(tmp_path):
        (tmp_path / "run.lock").write_bytes(content.encode("latin-1"))
        found = lock.holder(tmp_path)
        assert found is not None
        assert found.host == "an unknown machine"


def test_a_row_without_its_values_is_none() -> None:
    with pytest.raises(ValueError, match="layer 1 has another number of values than of candidates"):
        LayerRow("1", ("a", "b"), (1.0,), (1.0, 2.0), "a")


def test_a_log_of_the_usual_kind_is_read(run: Path) -> None:
    (line,) = read_log(run / "log.csv")
    assert (line.seconds, line.step, line.steps, line.lr, line.left_s) == (12.5, 4, 12, 0.1, 25.0)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("meta.threads=100000", "threads is 100000: it must be 1024 or less"),
        ("workers=1000000", "workers is 1000000: it must be 1024 or less"),
        (f"meta.epochs={10**33}", "epochs is 1000000000000000000000000000000000: it must be 1000000 or less"),
        (f"meta.batch={10**400}", "batch is"),
        (f"fine_tune.cache_mib={'9' * 5000}", "write a whole number"),
        ("resolution=1000000", "resolution is 1000000: it must be 16384 or less"),
        ("resolution=0", "resolution is 0: it must be 1 or more"),
        (f"seed={2**63}", "it must be 9223372036854775807 or less"),
        ("meta.decay_at=1e300", "decay_at is 1e+300: fractions of the epochs"),
    ],
)
def test_a_number_beyond_its_bound_is_refused_in_words(pair: str, message: str) -> None:
    with pytest.raises(PonasError) as error:
        assigned(TrainSettings(), [pair])
    assert message in str(error.value)


RESULT = {
    "format": "ponas.specialized/1",
    "validation": {"top1_pct": 91, "top5_pct": 99.5, "cross_entropy": 0.3, "images": 449},
    "test": {"top1_pct": 90.5, "top5_pct": 99.25, "cross_entropy": 0.35, "images": 360},
    "weights": "weights.safetensors",
    "weights_sha256": "0" * 64,
    "space": {"name": "ponas", "fingerprint": "0123456789abcdef", "resolution": 32, "classes": 10},
    "choices": ["k3e3", "k5e6se"],
    "data": "digits",
    "split_seed": 0,
    "images": {"train": 988, "validation": 449, "test": 360},
    "seed": 0,
    "training": {
        "epochs": 2,
        "batch": 64,
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 4e-05,
        "augment": True,
        "threads": 1,
        "distillation": {"temperature": 4.0, "weight": 0.9},
    },
    "inherited": None,
    "teacher": {"file": "meta.safetensors", "sha256": "1" * 64},
    "created": "2026-11-28T10:00:00+00:00",
    "device": "cpu, float32",
    "torch": "2.9.1",
}


def test_a_result_as_version_0_1_0_wrote_it_is_read_and_written_alike(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT))
    found = read_document(path, SPECIALIZED)
    assert (found.test.top1_pct, found.choices, found.inherited) == (90.5, ("k3e3", "k5e6se"), None)
    assert found.training.distillation is not None
    again = tmp_path / "again.json"
    write_document(again, SPECIALIZED, found)
    since = {"label_smoothing": 0.0, "decay": "cosine", "nesterov": True, "norm_decay": True}
    assert json.loads(again.read_text()) == {**RESULT, "training": {**RESULT["training"], **since}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("test", {}, r"result.json, test.top1_pct: is missing"),
        ("test", {"top1_pct": float("nan")}, r"result.json, test.top1_pct: is nan, expected a finite number"),
        ("space", "ponas", r"result.json, space: is 'ponas', expected an object"),
        ("choices", [1], r"result.json, choices\[0\]: is 1, expected text"),
    ],
)
def test_a_broken_result_is_refused_in_words(tmp_path: Path, part: str, value: Any, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**RESULT, part: value}))
    with pytest.raises(PonasError, match=message):
        read_document(path, SPECIALIZED)


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`ponas` in a process that has no torch."""
    code = "import sys; sys.modules['torch'] = None; from ponas_deploy.commands import main; main()"
    finding = "import importlib.util as u; f = u.find_spec"
    code = f"{finding}; u.find_spec = lambda n, *a: None if n == 'torch' else f(n, *a)\n{code}"
    command = [sys.executable, "-c", code, *arguments]
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def test_a_finished_runs_own_table_is_copied_without_torch(tmp_path: Path) -> None:
    accuracy = Grid(("1",), (("a", "b"),), ((40.0, 50.5),))
    write_accuracy_table(AccuracyTable.from_top1(accuracy), tmp_path / "accuracy.json")
    (tmp_path / "weights.safetensors").write_bytes(b"")
    done = without_torch("train", "table", "--run", str(tmp_path), "--method", "progressive", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "accuracy-progressive.json").exists()


@pytest.mark.parametrize("command", [("train", "table"), ("table", "certify")])
def test_what_needs_torch_says_so_where_there_is_none(tmp_path: Path, command: tuple[str, ...]) -> None:
    table = tmp_path / "accuracy.json"
    write_accuracy_table(AccuracyTable.from_top1(Grid(("1",), (("a", "b"),), ((40.0, 50.5),))), table)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    own = () if command[0] == "train" else (str(table),)
    done = without_torch(*command, *own, "--run", str(tmp_path))
    assert done.returncode == 1
    assert "torch" in done.stderr
    assert "Traceback" not in done.stderr
