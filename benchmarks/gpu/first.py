"""The first half hour on a GPU: everything that was never run on one, in order, in one command.

    python3 -m benchmarks.gpu.first --out first-gpu

Every step is a process with a time of its own: one that crashes or hangs is lost, and the next one follows.
What a step printed and found lies in a folder of its own, `summary.json` is complete after each; the same
command again goes on with what is missing. Ends with a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu.children import last_line, run_child, write_document
from benchmarks.gpu.first_task import RESULT, MissingError, Task
from ponas_deploy.errors import PonasError

SUMMARY = "summary.json"
DONE, UNFINISHED, FAILED, SKIPPED = "done", "unfinished", "failed", "skipped"
_RESERVE_S, _LEAST_S = 10.0, 3.0


@dataclass(frozen=True)
class Step:
    """`function` is MODULE.NAME in this folder; `seconds` is its share of the time."""

    number: int
    name: str
    function: str
    seconds: float

    @property
    def folder(self) -> str:
        return f"{self.number:02d}-{self.name}"


STEPS = (
    Step(0, "record", "first_machine.record", 30),
    Step(1, "cuda", "first_machine.cuda", 15),
    Step(2, "tests", "first_machine.tests", 90),
    Step(3, "linearity", "first_timing.linearity", 60),
    Step(4, "capture", "first_engines.capture", 150),
    Step(5, "numbers", "first_engines.numbers", 75),
    Step(6, "layers", "first_engines.layers", 45),
    Step(7, "memory", "first_engines.memory", 75),
    Step(8, "clocks", "first_timing.clocks", 30),
    Step(9, "builds", "first_engines.builds", 75),
    Step(10, "trtexec", "first_timing.against_trtexec", 45),
    Step(11, "rebuilt", "first_engines.rebuilt", 75),
    Step(12, "product", "first_machine.product", 300),
    Step(13, "onnxruntime", "first_timing.onnxruntime", 45),
    Step(14, "torch", "first_machine.torch", 90),
    Step(16, "tables", "first_machine.tables", 300),
)
NOT_RUN = {
    "1 cuda": "other bindings: pip install 'cuda-bindings==12.8.*' (JetPack 6) in another environment, then"
    " --steps record,cuda --out another folder",
    "8 clocks": "locked clocks: sudo nvidia-smi -lgc MHZ, or sudo jetson_clocks, then --steps record,clocks"
    " --out another folder",
    "12 product": "an hour later: PONAS_HOME=OUT/store ponas verify OUT/12-product/engine-60, and the others",
    "15 other machines": "a card with a power cap (nvidia-smi -pl), and a machine with two unlike GPUs: this"
    " command there, and compare the device's name and clocks with CUDA_VISIBLE_DEVICES=0 and =1",
}


def main() -> None:
    options = _options()
    if options.step:
        sys.exit(_step(options))
    try:
        summary = run_all(options)
    except PonasError as error:
        sys.exit(str(error))
    _show(summary)
    states = {row["step"]: row["state"] for row in summary["steps"]}
    print(json.dumps({"benchmark": "gpu-first", "device": summary["device"], "steps": states}))


def _options() -> argparse.Namespace:
    verbatim = argparse.RawDescriptionHelpFormatter
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-first")))
    parser.add_argument("--minutes", type=float, default=25.0, help="for everything together")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--steps", default=",".join(names), help="only these, by name, separated by commas")
    parser.add_argument("--redo", default="", help="steps that are done, to try again what failed in them")
    parser.add_argument("--step", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for asked in (options.steps, options.redo):
        if unknown := set(filter(None, asked.split(","))) - set(names):
            parser.error(f"no step is called {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    if not options.minutes > 0:
        parser.error("--minutes takes a number above 0")
    options.out = options.out.resolve()
    return options


# --- the steps, one after another


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run what is missing; the summary of all steps, which is on disk after each."""
    deadline = time.monotonic() + 60 * options.minutes - min(_RESERVE_S, 6 * options.minutes)
    asked, redone = options.steps.split(","), options.redo.split(",")
    before = _before(options.out)
    rows = {row["step"]: row for row in before["steps"]}
    summary: dict[str, Any] = {**before, "resolution": options.resolution}
    waiting = [s for s in STEPS if s.name in asked and (s.name in redone or not _is_done(rows, s))]
    if waiting and STEPS[0] not in waiting:  # which device this is, and with which versions
        waiting.insert(0, STEPS[0])
    for place, step in enumerate(waiting):
        share = step.seconds / sum(later.seconds for later in waiting[place:])
        seconds = max(_LEAST_S, share * (deadline - time.monotonic()))
        if deadline - time.monotonic() < _LEAST_S:
            rows[step.name] = _row(step, UNFINISHED, 0.0, "no time was left for it")
        else:
            print(f"{step.folder}: {seconds:.0f} s at most", flush=True)
            rows[step.name] = _run(step, seconds, options)
            print(f"  {rows[step.name]['state']}: {rows[step.name]['reason']}", flush=True)
        if step is STEPS[0]:
            _add_record(summary, options.out / step.folder / RESULT)
        summary["steps"] = [rows[one.name] for one in STEPS if one.name in rows]
        write_document(options.out / SUMMARY, summary)
    return summary


def _is_done(rows: dict[str, dict[str, Any]], step: Step) -> bool:
    return rows.get(step.name, {}).get("state") == DONE


def _before(out: Path) -> dict[str, Any]:
    """The summary of an earlier call, or an empty one."""
    path = out / SUMMARY
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return {"device": "", "steps": [], "not_run": NOT_RUN}
        found = json.loads(path.read_text())
        return {"device": str(found["device"]), "steps": list(found["steps"]), "not_run": NOT_RUN}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{path} is no summary of this command ({error}): give another folder by --out."
        raise PonasError(reason) from error


def _run(step: Step, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """One step in a process of its own."""
    folder = options.out / step.folder
    folder.mkdir(exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.first", "--step", step.name, "--out", str(options.out)]
    command += ["--seconds", str(seconds), "--resolution", str(options.resolution)]
    environment = {**os.environ, "PONAS_HOME": str(options.out / "store"), "PYTHONUNBUFFERED": "1"}
    with (folder / "log.txt").open("a+", errors="replace") as log:
        start = log.tell()
        ended = run_child(command, seconds, stdout=log, stderr=subprocess.STDOUT, env=environment)
        log.seek(start)
        said = last_line(log.read())
    result = json.loads((folder / RESULT).read_text()) if (folder / RESULT).exists() else {}
    if ended.fault:
        # A step that ends with 1 says why in its last line.
        words = said if ended.code == 1 else f"{ended.fault}: {said}".rstrip(": ")
        return _row(step, FAILED, ended.seconds, words or ended.fault)
    for state in (SKIPPED, UNFINISHED):
        if reason := result.get(state):
            return _row(step, state, ended.seconds, reason)
    return _row(step, DONE, ended.seconds, result.get("summary", ""))


def _row(step: Step, state: str, seconds: float, reason: str) -> dict[str, Any]:
    return {
        "step": step.name,
        "number": step.number,
        "state": state,
        "seconds": round(seconds, 1),
        "reason": reason,
        "folder": step.folder,
    }


def _add_record(summary: dict[str, Any], path: Path) -> None:
    """Device and versions, as the first step has found them; a PonasError where the device is another one."""
    found = json.loads(path.read_text()) if path.exists() else {}
    device, before = found.get("device", ""), summary["device"]
    if device and before and device != before:
        raise PonasError(
            f"{path.parents[1]} holds results of {before}, and this is {device}: give another --out."
        )
    summary.update({key: found[key] for key in ("device", "versions", "environment") if found.get(key)})


def _step(options: argparse.Namespace) -> int:
    """The part that runs in a process of its own; its exit code."""
    step = next(one for one in STEPS if one.name == options.step)
    task = Task(options.out, options.out / step.folder, options.seconds, options.resolution)
    module, _, name = step.function.partition(".")
    try:
        getattr(import_module(f"benchmarks.gpu.{module}"), name)(task)
    except MissingError as missing:
        task.keep(skipped=str(missing))
    except PonasError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _show(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{summary['device'] or 'no GPU'}, {summary['resolution']} px")
    for name in ("step", "seconds", "state", "what was found, or why not"):
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for row in summary["steps"]:
        table.add_row(f"{row['number']} {row['step']}", f"{row['seconds']:.0f}", row["state"], row["reason"])
    for name, what in summary["not_run"].items():
        table.add_row(name, "", "not run", what)
    console = Console()
    console.print(table)


if __name__ == "__main__":
    main()
