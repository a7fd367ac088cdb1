"""Certified latency tables of the PONAS space on this machine's GPU through PyTorch, and budgets met.

    python3 -m benchmarks.gpu.profile --smoke
    python3 -m benchmarks.gpu.profile --out OUT --minutes 9 --accuracy profiles/accuracy/ponas.json

Every configuration runs in processes of its own: one that fails or hangs costs only itself. After each,
its table is in OUT and `summary.json` is complete so far. Ends with a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The script's own folder would hide the standard library's `profile` behind this file.
ROOT = str(Path(__file__).resolve().parents[2])
sys.path[:] = [ROOT, *(entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent)]

from benchmarks.gpu.children import last_line, run_child, write_document  # noqa: E402

CONFIGS = ("torch:fp16:1", "torch:fp32:1", "torch:fp16:32", "torch:fp32:32")
CHOOSE_SHARE, PROFILE_SHARE = 0.8, 0.6
"""Of a configuration's time for its first stage; of that for the table, the rest for the budgets."""
_LEAST_AGAIN_S, _RESERVE_S = 25.0, 15.0


def main() -> None:
    options = _options()
    if options.stage:
        _stage(options)
    elif options.smoke:
        from benchmarks.gpu.smoke import smoke

        smoke(options.resolution, options.device)
    else:
        _all(options)


def _options() -> argparse.Namespace:
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-profile")))
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything together")
    parser.add_argument("--configs", default=",".join(CONFIGS), help="backend:precision:batch[:layout],...")
    parser.add_argument("--accuracy", type=Path, help="an accuracy table; without it a stand-in from MACs")
    parser.add_argument(
        "--headroom", type=float, default=0.5, help="percent under a budget that is asked for"
    )
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--device", help="cuda, cuda:1, cpu (smoke only)")
    parser.add_argument("--smoke", action="store_true", help="exercise every path in under a minute")
    parser.add_argument("--stage", choices=("choose", "again"), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def _stage(options: argparse.Namespace) -> None:
    """The part of one configuration that runs in a process of its own."""
    from benchmarks.gpu.networks import Config
    from benchmarks.gpu.one import chosen, remeasured

    config = Config.of(options.configs, options.resolution)
    if options.stage == "choose":
        chosen(
            config,
            options.seconds,
            options.out,
            options.accuracy,
            options.headroom,
            keep=lambda result: write_document(options.result, result),
        )
    else:
        picks = json.loads(options.result.read_text())["picks"]
        write_document(options.result, remeasured(config, picks))


def _all(options: argparse.Namespace) -> None:
    deadline = time.monotonic() + 60 * options.minutes - _RESERVE_S
    configs = options.configs.split(",")
    options.out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    for number, config in enumerate(configs):
        seconds = (deadline - time.monotonic()) / (len(configs) - number)
        print(f"{config}: {seconds:.0f} s", flush=True)
        results.append(_one(config, seconds, options))
        write_document(options.out / "summary.json", {"results": results})
    print(_table(results))
    print(json.dumps({"benchmark": "gpu-profile", "results": [_brief(result) for result in results]}))


def _one(config: str, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """Both stages of a configuration; what failed is in the result's `errors`."""
    end = time.monotonic() + seconds
    result: dict[str, Any] = {"config": config, "errors": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        _run("choose", config, CHOOSE_SHARE * seconds, file, options, result["errors"])
        if not file.exists():
            return result
        result.update(json.loads(file.read_text()))
        left = max(_LEAST_AGAIN_S, end - time.monotonic())
        if _run("again", config, left, file, options, result["errors"]):
            result["again"] = json.loads(file.read_text())
    return result


def _run(
    stage: str, config: str, seconds: float, file: Path, options: argparse.Namespace, errors: list[str]
) -> bool:
    """One stage in a process of its own, ended with all it started when its time is up."""
    command = [sys.executable, "-m", "benchmarks.gpu.profile", "--stage", stage, "--configs", config]
    command += ["--out", str(options.out.resolve()), "--result", str(file)]
    command += ["--seconds", str(PROFILE_SHARE * seconds), "--headroom", str(options.headroom)]
    command += ["--resolution", str(options.resolution)]
    command += ["--accuracy", str(options.accuracy.resolve())] if options.accuracy else []
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        reason = run_child(command, seconds, stderr=log).fault
        if not reason:
            return True
        log.seek(0)
        said = log.read().strip()
    print(f"{stage} {reason}\n{said[-1500:]}", flush=True)
    errors.append(f"{stage} {reason}: {last_line(said)}".rstrip(": "))
    return False


def _brief(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of a result without its lists."""
    picks = [pick for pick in result.get("picks", ()) if pick["purpose"].startswith("budget")]
    again = result.get("again", {}).get("median_ms", {})
    met = [again.get(pick["purpose"], float("inf")) <= pick["budget_ms"] for pick in picks]
    kept = ("config", "certificate", "correction", "launch_us", "launch_bound_cells", "profile_s", "errors")
    return {
        **{key: result[key] for key in kept if key in result},
        "budgets": len(picks),
        "met_again": sum(met) if again else None,
        "noise_floor_again_pct": result.get("again", {}).get("noise_floor_pct"),
        "networks_ms": {name: value for name, value in again.items() if not name.startswith("budget")},
    }


def _table(results: list[dict[str, Any]]) -> str:
    """One line a configuration, then what was measured again, by configuration."""
    lines = [
        f"{'configuration':<24}{'error':>8}{'worst':>8}{'tau':>7}{'noise':>8}{'met':>8}{'launch-bound':>16}"
    ]
    for result in results:
        brief, certificate = _brief(result), result.get("certificate")
        if not certificate:
            lines.append(f"{result['config']:<24}failed: {result['errors'][-1][:80]}")
            continue
        lines.append(
            f"{result['config']:<24}{certificate['mean_error_pct']:>7.2f}%{certificate['worst_error_pct']:>7.2f}%"
            f"{certificate['kendall_tau']:>7.3f}{certificate['noise_floor_pct']:>7.2f}%"
            f"{brief['met_again'] if brief['met_again'] is not None else '?':>5}/{brief['budgets']}"
            f"{result['launch_bound_cells']:>16}"
        )
    for result in results:
        lines += ["", *_picks(result)] if result.get("picks") else []
    return "\n".join(lines)


def _picks(result: dict[str, Any]) -> list[str]:
    again = result.get("again", {}).get("median_ms", {})
    lines = [
        f"{result['config']:<30}{'budget':>9}{'predicted':>11}{'measured':>10}{'again':>9}  (ms)  loss, MACs"
    ]
    for pick in result["picks"]:
        later = again.get(pick["purpose"])
        if not pick["choices"]:
            lines.append(f"  {pick['purpose']:<28}{pick['budget_ms']:>9.4f}  not met, {pick['tries']} tries")
            continue
        lines.append(
            f"  {pick['purpose']:<28}{pick['budget_ms']:>9.4f}{pick['predicted_ms']:>11.4f}"
            f"{pick['measured_ms']:>10.4f}{later if later else float('nan'):>9.4f}"
            f"        {pick['loss_pp']:.2f} pp, {pick['macs'] / 1e6:.0f} M, {pick['tries']} tries"
        )
    named = {pick["purpose"] for pick in result["picks"]}
    lines += [f"  {name:<58}{value:>9.4f}" for name, value in again.items() if name not in named]
    return lines


if __name__ == "__main__":
    main()
