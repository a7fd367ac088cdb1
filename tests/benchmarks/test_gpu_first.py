"""The first half hour on a GPU, on the stand-ins: real processes, real commands, no GPU.

`gpu_standins/` is put before everything else on the path of all processes: `tensorrt`, `cuda.bindings` and
`pynvml` are played there, ONNX Runtime gets GPU providers beside its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from waits import python_path

from benchmarks.gpu import first, first_machine
from benchmarks.gpu.children import run_child
from benchmarks.gpu.first_task import StepError, Task

ROOT = Path(__file__).resolve().parents[2]
ON_TIME = ("stopped after", "no time was left", "there was no time")


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    places = (Path(__file__).parent / "gpu_standins", ROOT / "tests" / "backends", ROOT)
    monkeypatch.setenv("PYTHONPATH", python_path(*places))
    trtexec = tmp_path / "trtexec"
    source = (ROOT / "tests" / "backends" / "stand_in_trtexec.py").read_text(encoding="utf-8")
    trtexec.write_text(f"#!{sys.executable} -SE\n{source}", encoding="utf-8")
    trtexec.chmod(0o755)
    monkeypatch.setenv("PONAS_TRTEXEC", str(trtexec))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    return tmp_path / "out"


def run(out: Path, *more: str) -> tuple[dict[str, dict[str, Any]], subprocess.CompletedProcess[str]]:
    """The rows of the summary by step, and what the command printed."""
    command = [sys.executable, "-m", "benchmarks.gpu.first", "--out", str(out), "--resolution", "32", *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((out / "summary.json").read_text())
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["steps"] == {row["step"]: row["state"] for row in summary["steps"]}
    return {row["step"]: row for row in summary["steps"]}, done


def result(out: Path, step: str) -> dict[str, Any]:
    [folder] = out.glob(f"*-{step}")
    return dict(json.loads((folder / "result.json").read_text()))


def test_a_step_that_crashes_or_hangs_costs_itself_and_is_gone_on_with(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MISHAP", "cuda:hang,capture:crash")
    rows, done = run(out, "--steps", "cuda,capture,layers", "--minutes", "1.2")
    assert (rows["cuda"]["state"], rows["cuda"]["reason"][:13]) == ("failed", "stopped after")
    assert (rows["capture"]["state"], rows["capture"]["reason"][:16]) == ("failed", "ended by SIGKILL")
    assert rows["layers"]["state"] == "done"
    assert "15 other machines" in done.stdout
    assert "unlike GPUs" in json.loads((out / "summary.json").read_text())["not_run"]["15 other machines"]
    before = rows["layers"]
    monkeypatch.delenv("STAND_IN_MISHAP")
    rows, done = run(out, "--steps", "cuda,layers", "--minutes", "1.2")
    assert [rows[name]["state"] for name in ("cuda", "layers", "capture")] == ["done", "done", "failed"]
    assert rows["layers"] == before, "what is done is not run again"
    assert "06-layers: " not in done.stdout
    assert result(out, "cuda")["gpu"] == "NVIDIA Stand-in"
    assert {row["key"] for row in result(out, "layers")["rows"]} == {"fp16", "int8"}


STEPS = """
import json, sys, time
from pathlib import Path
from benchmarks.gpu import first_engines, first_timing
from benchmarks.gpu.first_task import Task

out, kept = Path(sys.argv[1]), {}
for function, seconds in (
    (first_timing.linearity, 300), (first_timing.against_trtexec, 300), (first_timing.onnxruntime, 300),
    (first_engines.capture, 1.5), (first_engines.numbers, 300), (first_engines.memory, 300),
    (first_engines.builds, 300), (first_engines.rebuilt, 300), (first_timing.clocks, 1.5),
):
    name = function.__name__
    (out / name).mkdir(parents=True)
    task = Task(out, out / name, seconds, 32, started=time.monotonic())
    function(task)
    kept[name] = json.loads((out / name / "result.json").read_text())
print(json.dumps(kept))
"""


def test_what_the_steps_find(out: Path) -> None:
    """Where the clock is arithmetic all of it is known."""
    done = subprocess.run([sys.executable, "-c", STEPS, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = json.loads(done.stdout.splitlines()[-1])
    assert {row["sm_mhz"] for row in kept.pop("clocks")["rows"]} == {1000}
    rows = {name: {row["key"]: row for row in result["rows"]} for name, result in kept.items()}
    assert not [row for found in rows.values() for row in found.values() if "error" in row]
    for name in ("block", "network"):
        us = {
            row["us"]
            for key, row in rows["linearity"].items()
            if key.startswith(name) and "trtexec" not in key
        }
        assert max(us) == pytest.approx(min(us), rel=1e-3)
        assert len(rows["linearity"]) == 2 * 2 * 5 + 2
    assert rows["against_trtexec"]["int8"].keys() == {"key", "tensorrt_us", "trtexec_us"}
    assert not rows["onnxruntime"]["onnxruntime-cuda"]["waits"]
    assert "engine.tensorrt.onnx" in rows["onnxruntime"]["onnxruntime-tensorrt"]["files"]
    assert kept["capture"]["unfinished"].split()[2] == "568"
    assert all(row["captured"] for row in rows["capture"].values())
    assert all(key.startswith("fp16 ") for key in rows["capture"]), "what is profiled later comes first"
    assert rows["numbers"]["published fp32"]["from_fp32_pct"] < 0.01
    assert rows["numbers"]["squeeze-and-excite int8"]["from_fp32_pct"] > 0.1
    assert list(rows["memory"]) == ["batch 1", "batch 8", "batch 32"]
    assert [row["outcome"] for row in rows["builds"].values()] == ["built", "KeyboardInterrupt", "built"]
    assert [row["told"][-1][1] for row in rows["builds"].values()] == [
        "Building: 2 of 2",
        "Building: 0 of 2",
        "Building: 2 of 2",
    ]
    assert len(rows["rebuilt"]) == 6


@pytest.mark.slow
def test_it_runs_to_its_end(out: Path) -> None:
    """Every step, in so little time that some are stopped by it: nothing else may stop one."""
    rows, done = run(out, "--minutes", "1.5")
    assert list(rows) == [step.name for step in first.STEPS]
    for row in rows.values():
        late = any(words in row["reason"] for words in ON_TIME)
        assert row["state"] in ("done", "unfinished") or late, (row, done.stdout)


def test_results_of_another_device_or_of_something_else_are_refused(out: Path) -> None:
    out.mkdir()
    for text, words in (
        (
            '{"device": "nvidia-h200", "steps": []}',
            "results of nvidia-h200, and this is nvidia-stand-in",
        ),
        ("[]", "summary.json is no summary of this command"),
    ):
        (out / "summary.json").write_text(text)
        command = [sys.executable, "-m", "benchmarks.gpu.first", "--out", str(out), "--minutes", "0.25"]
        done = subprocess.run(
            [*command, "--steps", "record"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert words in done.stderr
        assert (out / "summary.json").read_text() == text
    done = subprocess.run(
        [*command, "--steps", "what"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no step is called what: there are record, cuda, tests" in done.stderr


def task(folder: Path, seconds: float) -> Task:
    return Task(folder, folder, seconds, 32, started=time.monotonic())


def test_what_time_stopped_is_unfinished_and_tried_again(tmp_path: Path) -> None:
    sleeps = (sys.executable, "-c", "import time; time.sleep(60)")
    asked = list[str]()

    def ran(key: str) -> dict[str, Any]:
        asked.append(key)
        if key == "fails":
            raise StepError("it is broken")
        return {"said": first_task.run(key, sleeps, 0.2) if key == "slow" else "ready"}

    first_task = task(tmp_path, 60)
    rows = first_task.each(("slow", "quick", "fails"), ran)
    assert rows == [{"key": "quick", "said": "ready"}, {"key": "fails", "error": "it is broken"}]
    assert first_task.kept["unfinished"].startswith("2 of 3 in 60 s; the same command goes on; slow stopped")
    asked.clear()
    task(tmp_path, 60).each(("slow", "quick", "fails"), ran)
    assert asked == ["slow", "fails"]


PRINTS_IMPOSSIBLE = """
import json, sys
if sys.argv[-1] == "50%":
    sys.exit("error: no architecture meets 50 % of it: the fastest one takes 0.6 ms. Ask for 57% or more.")
print(json.dumps({"budget": sys.argv[-1]}))
"""


def test_of_a_budget_that_is_impossible_the_least_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_machine, "PONAS", (sys.executable, "-c", PRINTS_IMPOSSIBLE))
    asked = partial(first_machine._specialized, task(tmp_path, 60), "engine")
    assert asked(("--latency", "50%"), 60.0) == {"budget": "57%"}
    assert asked(("--latency", "60%"), 60.0) == {"budget": "60%"}
    monkeypatch.setattr(first_machine, "PONAS", (sys.executable, "-c", "import sys; sys.exit('broken')"))
    with pytest.raises(StepError, match="engine ended with 1: broken"):
        asked(("--latency", "60%"), 60.0)
    monkeypatch.setattr(first_machine, "PONAS", (sys.executable, "-c", "print('Traceback')"))
    with pytest.raises(StepError, match="engine printed no JSON"):
        asked(("--latency", "60%"), 60.0)


def test_nothing_that_a_child_started_outlives_it(tmp_path: Path) -> None:
    note = tmp_path / "note"
    starts = (
        "import subprocess, sys; started = subprocess.Popen([sys.executable, '-c', 'import time;"
        f" time.sleep(60)'], start_new_session=True); open({str(note)!r}, 'w').write(str(started.pid));"
    )
    ended = run_child([sys.executable, "-c", f"{starts} started.wait()"], 2.0)
    assert (ended.code, ended.fault) == (None, f"stopped after {ended.seconds:.0f} s")
    assert not psutil.pid_exists(int(note.read_text()))
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"], 20.0).fault == "ended with 3"


def test_a_child_that_is_interrupted_may_save(tmp_path: Path) -> None:
    note = tmp_path / "note"
    saves = (
        "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        f"    open({str(note)!r}, 'w').write('saved')\n"
    )
    assert run_child([sys.executable, "-c", saves], 1.5, saving_s=20.0).code is None
    assert note.read_text() == "saved"
