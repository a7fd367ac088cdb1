"""What a run shows while it goes on: its pace, its log, who holds its folder, and its status."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from forked import PATH, ROOT
from tiny_training import LABELS, META, SETTINGS, changed, known, one_thread

from ponas_deploy.commands import app
from ponas_deploy.errors import FileFormatError, PonasError
from train.files import Line, RunLog, lock, read_log, read_status
from train.progress import LayerRow, Pace, Speed, TrainingProgress
from train.runs import train_run

ROW = LayerRow("4", ("a", "b"), (50.0, 75.0), (1.0, 0.5), "b")


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with one_thread():
        yield


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_that_of_this_process_alone() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert (
        pace.see(TrainingProgress("meta", 900, 1000, images=64)) == Speed()
    )  # resumed: 900 steps were not ours
    clock.now += 2
    assert pace.see(TrainingProgress("meta", 901, 1000, images=64)) == Speed(32.0, 2.0 * 99)
    clock.now += 4
    assert pace.see(TrainingProgress("meta", 904, 1000, images=192)) == Speed(256 / 6, 1.5 * 96)


def test_the_images_a_second_are_those_of_the_last_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    for step in range(100):
        clock.now += 1 if step < 50 else 10
        found = pace.see(TrainingProgress("meta", step, 100, images=60))
    assert found.images_per_s == pytest.approx(6.0)


def test_a_new_stage_starts_from_nothing() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.see(TrainingProgress("meta", 1, 10, images=8))
    clock.now += 5
    assert pace.see(TrainingProgress("fine-tune", 3, 10, images=8)) == Speed()


def test_a_log_has_a_line_for_every_epoch_and_layer(tmp_path: Path) -> None:
    run = train_run(SETTINGS, tmp_path)
    lines = read_log(tmp_path / "log.csv")
    epochs = [line for line in lines if line.stage == "meta" and line.step % 4 == 0]
    assert [(line.at, line.step, line.steps, line.lr) for line in epochs] == [
        ("epoch 1 of 3", 4, 12, 0.1),
        ("epoch 2 of 3", 8, 12, 0.01),
        ("epoch 3 of 3", 12, 12, pytest.approx(0.001)),
    ]
    assert all(line.loss is not None and line.validation_top1_pct is not None for line in epochs)
    details = dict(run.table.origin.details)  # type: ignore[union-attr]
    assert f"{epochs[-1].validation_top1_pct:.2f}" == details["meta_validation_top1_pct"]
    layers = [line for line in lines if line.stage == "fine-tune" and line.validation_top1_pct is not None]
    best = [max(row) for row in run.table.top1.values]  # type: ignore[union-attr]
    assert [line.validation_top1_pct for line in layers] == pytest.approx(best, rel=1e-5)
    assert layers[-1].step == layers[-1].steps
    assert [line.seconds for line in lines] == sorted(line.seconds for line in lines)


def test_a_resumed_run_adds_to_the_log_and_to_the_seconds(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.stage == "fine-tune" and progress.milestone:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(SETTINGS, tmp_path, interrupt)
    before = read_log(tmp_path / "log.csv")
    assert before[-1].at == "layer 1 of 3"
    train_run(SETTINGS, tmp_path)
    after = read_log(tmp_path / "log.csv")
    assert after[: len(before)] == before
    assert after[len(before)].seconds >= before[-1].seconds
    assert [line.at for line in after if line.step == line.steps][-1] == "layer 3 of 3"


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    metrics = (("cross_entropy", 2.5), ("validation_top1_pct", 12.5), ("lr", 0.1))
    with RunLog(path) as log:
        log(TrainingProgress("meta", 5, 10, "epoch 1, of 2", metrics, milestone=True))
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[-1][:20])
    (line,) = read_log(path)
    assert replace(line, time="", seconds=0.0) == Line(
        "", 0.0, "meta", "epoch 1, of 2", 5, 10, 2.5, 12.5, 0.1, None, None
    )
    with RunLog(path) as log:
        log(TrainingProgress("fine-tune", 1, 4, "layer 4 of 19", row=ROW, milestone=True))
    assert path.read_text().startswith(whole)
    assert [line.validation_top1_pct for line in read_log(path)] == [12.5, 75.0]


def test_what_is_no_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,seconds\nyesterday,a while\n")
    with pytest.raises(FileFormatError, match=r"log.csv, line 2: is no line of a training log"):
        read_log(path)


def test_tensorboard_shows_what_the_log_says(tmp_path: Path) -> None:
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )
    train_run(changed(meta=replace(META, epochs=2)), tmp_path)
    events = reading.EventAccumulator(str(tmp_path / "tensorboard" / "meta"))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("validation_top1_pct")}
    lines = [line for line in read_log(tmp_path / "log.csv") if line.stage == "meta"]
    assert shown == pytest.approx({line.step: line.validation_top1_pct for line in lines}, rel=1e-5)


def test_a_folder_is_held_by_one_and_free_when_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with lock.held(folder):
        found = lock.holder(folder)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(PonasError, match=f"being trained in by process {os.getpid()} on .* since 20"):
            train_run(SETTINGS, folder)
        assert lock.holder(folder) == found
    assert lock.holder(folder) is None
    assert not folder.exists()


def test_what_a_dead_process_left_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text('{"pid": 1, "host": "here", "since": "yesterday"}')
    assert lock.holder(tmp_path) is None
    with lock.held(tmp_path):
        pass


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """`ponas train` in a process of its own, with so many epochs that it has to be stopped."""
    folder = tmp_path / "run"
    settings = ("data=blobs", "space=tiny", "device=cpu", "workers=1", "meta.batch=16", "meta.epochs=100000")
    arguments = [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/train/tiny_cli.py"), "train", "--out", str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        while len(read_log(folder / "log.csv")) < 3 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        yield folder, process
    finally:
        process.kill()
        process.communicate()


def status(folder: Path) -> dict[str, object]:
    done = CliRunner().invoke(app, ["train", "status", str(folder), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_running_run_says_how_far_it_is_and_ctrl_c_says_how_to_go_on(
    long_run: tuple[Path, subprocess.Popen[str]],
) -> None:
    folder, process = long_run
    found = status(folder)
    assert found["stage"] == "meta"
    assert str(found["at"]).endswith("of 100000")
    assert found["steps"] == 400_000
    assert found["running"]["pid"] == process.pid  # type: ignore[index]
    assert found["seconds_left"] > found["seconds_spent"] > 0  # type: ignore[operator]
    assert found["images_per_s"] > 0  # type: ignore[operator]
    with pytest.raises(PonasError, match=f"{folder} is being trained in by process {process.pid} on "):
        train_run(SETTINGS, folder)

    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == ""
    assert f"training in {folder}, log in log.csv" in errors
    assert f"what is finished is kept in {folder}: the same command goes on from there\n" in errors
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    found = status(folder)
    assert found["running"] is None
    assert found["stage"] == "meta"
    assert (folder / "meta.state.safetensors").exists()


def test_the_status_of_a_finished_run_holds_its_table_and_the_command_that_makes_it_again(
    tmp_path: Path,
) -> None:
    result = train_run(SETTINGS, tmp_path)
    found = status(tmp_path)
    assert (found["stage"], found["running"], found["seconds_left"]) == ("done", None, None)
    assert [row["layer"] for row in found["rows"]] == ["1", "2", "3"]  # type: ignore[index, attr-defined]
    assert found["rows"][1]["top1_pct"] == dict(zip(LABELS, result.table.top1.values[1], strict=True))  # type: ignore[index, union-attr]
    command = str(found["command"]).split()
    assert command[:4] == ["ponas", "train", "--out", str(tmp_path)]
    again = CliRunner().invoke(app, [*command[1:], "--device", "cpu", "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["accuracy_table"] == str(result.table_path)  # found, not trained again
    people = CliRunner().invoke(app, ["train", "status", str(tmp_path)], catch_exceptions=False)
    assert "running   no\n" in people.stdout
    assert f"best      {read_status(tmp_path).best_top1_pct:.2f} % top-1" in people.stdout


def test_the_status_of_an_unfinished_run_shows_the_rows_so_far(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.text == "layer 3 of 3" and not progress.milestone:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(SETTINGS, tmp_path, interrupt)
    found = status(tmp_path)
    assert found["stage"] == "fine-tune"
    assert [row["layer"] for row in found["rows"]] == ["1", "2"]  # type: ignore[index, attr-defined]
    people = CliRunner().invoke(app, ["train", "status", str(tmp_path)], catch_exceptions=False).stdout
    assert "running   no: the command above goes on with it\n" in people
    assert "k3e6se" in people


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(PonasError, match="holds no training run: name the folder that `ponas train` wrote"):
        read_status(tmp_path)


def test_the_status_needs_no_torch(tmp_path: Path) -> None:
    train_run(SETTINGS, tmp_path)
    code = "import sys; sys.modules['torch'] = None; from ponas_deploy.commands import main; main()"
    command = [sys.executable, "-c", code, "train", "status", str(tmp_path), "--json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": PATH}, check=True, capture_output=True)
    assert json.loads(done.stdout)["stage"] == "done"
