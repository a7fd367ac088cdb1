"""The ablations of the PONAS paper (arXiv 2003.05112, section 4.3) on any images, with intervals.

    python -m benchmarks.ablations --out FOLDER --run RUN
    python -m benchmarks.ablations --out FOLDER --data /data/imagenet --preset paper --epochs 50 \
        --layer-epochs 3 --alone-epochs 150

1. `stages`: a meta network, then the whole supernet with strict fairness, against strict fairness from
   random weights, at as many epochs (3/5 and 2/5 of --epochs; the paper: 30 + 20 against 50). With
   --layer-epochs also what `ponas train` does: the same meta network, then layer by layer.
2. `tau`: does a table's summed loss rank networks as their accuracy does, inherited and trained on their own?
3. `importance`: the worst candidate in every layer, then the best one in the most important layer, or in the
   two least important.

The table and the supernet of 2 and 3 are those of a finished run of `ponas train`; without --run one is
trained in the folder. Each finished part lies in --out as JSON and is not done again; a training that was
broken off goes on from its last epoch. Several processes may share the folder, each with other --parts or
--seeds; the last call reports. Tables for people, then one JSON line. Intervals are 95 %.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command that fits tables does

import numpy as np
import torch
from scipy import stats

from benchmarks.ablation_parts import (
    Document,
    Setup,
    alone_pct,
    inherited,
    inherited_variants,
    networks_of,
    stages,
    variants,
)
from ponas_deploy.errors import PonasError
from ponas_deploy.files.documents import Format
from ponas_deploy.files.records import sha256
from ponas_deploy.files.weights import read_weights
from ponas_deploy.fitting.certify import EvaluationNoise, certify_accuracy, noise_of_halves
from ponas_deploy.fitting.ranks import intervals, rank_correlation
from ponas_deploy.tables.files import load_accuracy_table
from ponas_deploy.tables.networks_csv import write_networks
from searchspace import Architecture, build_space
from searchspace.cost import count_macs, network_cost
from train.compute import Compute
from train.data import load
from train.files import RunDocument, claim
from train.runs import train_run
from train.settings import PRESETS, SpecializedSettings, preset
from train.stages import Choices, sample

FORMAT = Format("ponas.ablations", 1, RunDocument)
PARTS = ("stages", "tau", "importance")
FEW = 6  # the networks behind the paper's tau
ARMS = {"two": "two stages", "one": "one stage, from scratch", "progressive": "meta, then layer by layer"}
JUDGED = {"random_pct": "random", "best_validation_pct": "best found", "best_test_pct": "the same, test"}


def report_stages(setup: Setup, seeds: Sequence[int], layer_epochs: int) -> Document:
    """Accuracy and time of each way to a supernet; a step's time is the median over all steps and seeds."""
    by_seed = [stages(setup, seed, layer_epochs) for seed in seeds]
    clock = "cpu_s" if setup.compute.device.type == "cpu" else "wall_s"
    steps = max(len(setup.splits.train.labels) // setup.meta.batch, 1)
    timed = {arm: [s for found in by_seed for s in found[arm][clock]] for arm in by_seed[0]}
    if not all(timed.values()):
        raise PonasError("no step was timed: take a smaller --batch, an epoch's first step does not count.")
    epoch_s = {arm: steps * median(times) for arm, times in timed.items()}
    spent_s = {arm: epoch_s[arm] * by_seed[0][arm]["epochs"] for arm in ("meta", "two", "one")}
    if layer_epochs:
        spent_s["progressive"] = fmean(sum(found["progressive"][clock]) for found in by_seed)
    total_s = {
        arm: s + (0 if arm == "one" else spent_s["meta"]) for arm, s in spent_s.items() if arm != "meta"
    }
    meta = interval([found["meta"]["top1_pct"] for found in by_seed])
    print(f"\n1. two stages against one: {setup.meta.epochs} epochs, {len(seeds)} seeds, top-1 in percent")
    print(f"   meta network {text(meta)}, epochs of {epoch_s['meta']:.2f} s ({clock[:-2]} time)")
    print(f"   {'':<26} {'epoch':>8} {'in all':>9}" + "".join(f"  {name:<24}" for name in JUDGED.values()))
    found: dict[str, dict[str, list[float]]] = {}
    for arm in total_s:
        parts = [each[arm] for each in by_seed]
        found[arm] = {"random_pct": [fmean(part["subnets_pct"]) for part in parts]}
        found[arm] |= {key: [part[key] for part in parts] for key in JUDGED if key != "random_pct"}
        print(f"   {ARMS[arm]:<26} {epoch_s[arm]:6.1f} s {total_s[arm]:7.0f} s" + row(found[arm]))
    less = {key: np.subtract(found["two"][key], found["one"][key]).tolist() for key in JUDGED}
    print(f"   {'two stages less one':<46}{row(less)}   (the paper: +1)")
    faster = {"epoch": epoch_s["one"] / epoch_s["meta"], "in_all": total_s["one"] / total_s["two"]}
    print(
        f"   a meta epoch is {faster['epoch']:.2f} times faster than a fair one (the paper: 1.35),", end=" "
    )
    print(f"two stages {faster['in_all']:.2f} times faster than one")
    return {
        "epochs": setup.meta.epochs,
        "clock": clock,
        "meta_top1": meta,
        "epoch_s": epoch_s,
        "total_s": total_s,
        "arms": found,
        "two_less_one": {key: interval(values) for key, values in less.items()},
        "faster": faster,
    }


def row(columns: Mapping[str, Sequence[float]]) -> str:
    return "".join(f"  {text(interval(values)):<24}" for values in columns.values())


def report_tau(setup: Setup, networks: int, noise_pp: float) -> Document:
    """`noise_pp` is what training once more, from another seed, changes in a network's accuracy."""
    print("\n2. Kendall tau between summed loss and accuracy (the paper: 0.733 over six networks)")
    part = setup.part("inherited", lambda: inherited(setup))
    inherited_pct = dict(zip(setup.subnets, part["top1_pct"], strict=True))
    noise = noise_of_halves([(first, second) for first, second in part["halves_pct"]])
    result = {"inherited": certificate(setup, inherited_pct, "inherited", noise)}
    if networks:
        alone = {choices: alone_pct(setup, choices, 0) for choices in setup.subnets[:networks]}
        noise = EvaluationNoise.of(noise_pp, np.array(list(alone.values())))
        result["trained"] = certificate(setup, alone, "trained", noise)
        one, other = (np.array([top1[choices] for choices in alone]) for top1 in (inherited_pct, alone))
        tau, (low, high) = rank_correlation(one, other).tau, intervals(one, other, 0)[0]
        result["inherited_against_trained"] = {"tau": tau, "interval": [low, high]}
        print(f"   accuracy inherited against trained: tau {tau:.2f} ({low:.2f} to {high:.2f})")
    return result


def certificate(
    setup: Setup, top1_pct: Mapping[Choices, float], how: str, noise: EvaluationNoise
) -> Document:
    """What networks say of the table, and how far tau scatters over as few of them as the paper had."""
    networks = networks_of(setup.space, setup.out / f"{how}.csv", top1_pct)
    write_networks(networks)  # for `ponas table certify --evaluated` and `ponas table fit`
    made_on = f"{setup.splits.name} at {setup.splits.resolution} px"
    cert = certify_accuracy(
        setup.table, networks, method=how, made_on=made_on, noise=noise, space=setup.space
    )
    predicted, top1 = -np.array([setup.table.loss_pp(each) for each in top1_pct]), np.array(networks.values)
    draw = np.random.default_rng(0)
    rows = [draw.choice(len(networks), FEW, replace=False) for _ in range(2000)]
    taus = [rank_correlation(predicted[few], top1[few]).tau for few in rows]
    low, high = np.quantile(taus, (0.025, 0.975)).tolist()
    spread = f"{min(networks.values):.1f} to {max(networks.values):.1f} %"
    print(f"   {how}: {cert.text}; Spearman {cert.spearman:.2f}; MACs alone {cert.macs_tau:.2f}; {spread}")
    if cert.noise_pp:
        print(f"      noise {cert.noise_pp:.2f} points: two such runs would agree to {cert.noise_tau:.2f}")
    print(f"      any {FEW} of these networks: {low:.2f} to {high:.2f}")
    return {**asdict(cert), "tau_of_six": [low, high]}


def report_importance(setup: Setup, seeds: Sequence[int]) -> Document:
    """The variants trained from several seeds, and as they are inherited."""
    networks = variants(setup)
    inherited_pct = setup.part("importance", lambda: inherited_variants(setup, networks))
    alone = {name: [alone_pct(setup, each, seed) for seed in seeds] for name, each in networks.items()}
    print(f"\n3. how much layers matter: {len(seeds)} seeds, top-1 in percent")
    print("   (the paper: worst 73.4, with the two least important best 73.8, with the most important 73.9)")
    print(f"   {'':<14} {'MMACs':>7} {'loss':>7}  {'trained':<24}  {'less the worst':<24}  inherited")
    result: Document = {}
    for name, choices in networks.items():
        less = np.subtract(alone[name], alone["worst"]).tolist()
        result[name] = {
            "choices": list(choices),
            "macs": network_cost(count_macs, Architecture(setup.space, choices)),
            "loss_pp": setup.table.loss_pp(choices),
            "trained_pct": alone[name],
            "trained": interval(alone[name]),
            "less_worst": interval(less),
            "inherited_pct": inherited_pct[name],
        }
        shown = row({"trained": alone[name], "less": less})
        macs, loss = result[name]["macs"] / 1e6, result[name]["loss_pp"]
        print(f"   {name:<14} {macs:7.2f} {loss:7.2f}{shown}  {inherited_pct[name]:9.2f}")
    return result


def interval(values: Sequence[float]) -> Document:
    """Mean and 95 % interval (Student's t), as far as there are values."""
    count = len(values)
    mean = fmean(values) if count else None
    if mean is None or count < 2:
        return {"mean": mean, "low": None, "high": None, "count": count}
    wide = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return {"mean": mean, "low": mean - wide, "high": mean + wide, "count": count}


def text(found: Document) -> str:
    if not found["count"]:
        return "-"
    around = "one seed" if found["low"] is None else f"{found['low']:.2f} to {found['high']:.2f}"
    return f"{found['mean']:.2f} ({around})"


def seed_noise_pp(importance: Document) -> float:
    """The standard deviation of a network's accuracy from seed to seed; 0 where one seed cannot say."""
    trained = [each["trained_pct"] for each in importance.values()]
    variances = [np.var(values, ddof=1) for values in trained if len(values) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else 0.0


def set_up(arguments: argparse.Namespace) -> Setup:
    base = preset(arguments.preset, data=arguments.data or "digits", resolution=arguments.resolution)
    base = replace(base, device=arguments.device)
    run = arguments.run
    if run is None:
        run = arguments.out / "run"
        train_run(base, run)
    table, file = load_accuracy_table(run / "accuracy.json"), read_weights(run / "weights.safetensors")
    origin = table.origin
    if origin is None:
        raise PonasError(
            f"{run / 'accuracy.json'} does not say what it was made on: name a run of `ponas train`."
        )
    splits = load(arguments.data or origin.data, resolution=origin.resolution, seed=origin.seed)
    space = build_space(base.space, splits.resolution, splits.classes)
    batch, lr = arguments.batch or base.meta.batch, arguments.lr or base.meta.lr
    setup = Setup(
        out=arguments.out,
        meta=replace(base.meta, epochs=arguments.epochs, batch=batch, lr=lr),
        fine_tune=replace(base.fine_tune, epochs=max(arguments.layer_epochs, 1), batch=batch),
        alone=SpecializedSettings(epochs=arguments.alone_epochs, batch=batch, lr=arguments.alone_lr),
        splits=splits,
        space=space,
        compute=Compute.on(arguments.device, lanes=0),
        table=table,
        tensors=file.tensors,
        subnets=tuple(islice(sample(space, "certify", 0), arguments.subnets)),
    )
    identity = {
        "data": splits.name,
        "resolution": splits.resolution,
        "weights": sha256(file.path),
        "table": sha256(run / "accuracy.json"),
        "subnets": arguments.subnets,
        "meta": asdict(setup.meta),
        "fine_tune": asdict(setup.fine_tune),
        "alone": asdict(setup.alone),
    }
    claim(setup.out, FORMAT, identity, ())
    return setup


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The ablations of the PONAS paper.")
    add: Any = parser.add_argument
    add("--out", type=Path, required=True, help="where parts are kept")
    add("--run", type=Path, help="a finished run of `ponas train`")
    add("--data", help="a data set or a folder; default: that of the run, or digits")
    add("--resolution", type=int, help="in pixels, where a run is trained")
    add("--preset", choices=PRESETS, default="quick", help="learning rates and batch")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--parts", default=",".join(PARTS), help="of " + ",".join(PARTS))
    add(
        "--seeds",
        type=int,
        nargs="*",
        default=[0, 1],
        help="of `stages` and `importance`; none: inherited weights only",
    )
    add("--epochs", type=int, default=10, help="of both ways together; the paper: 50")
    add("--layer-epochs", type=int, default=0, help="of each layer, layer by layer; the paper: 3; 0: not")
    add("--subnets", type=int, default=50, help="random networks that inherit")
    add("--networks", type=int, default=12, help="how many of them are also trained on their own")
    add("--alone-epochs", type=int, default=6, help="of a network on its own; the paper: 150")
    add("--alone-lr", type=float, default=0.045)
    add("--batch", type=int, help="images a step; default: the preset's")
    add("--lr", type=float, help="of meta network and supernet; default: the preset's")
    return parser


def main() -> None:
    parser = options()
    arguments = parser.parse_args()
    wanted = arguments.parts.split(",")
    if set(wanted) - set(PARTS):
        parser.error(f"--parts are of {', '.join(PARTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    setup = set_up(arguments)
    seeds, results = arguments.seeds, {}
    if "stages" in wanted and seeds:
        results["stages"] = report_stages(setup, seeds, arguments.layer_epochs)
    if "importance" in wanted:
        results["importance"] = report_importance(setup, seeds)
    if "tau" in wanted:
        noise_pp = seed_noise_pp(results.get("importance", {}))
        results["tau"] = report_tau(setup, arguments.networks, noise_pp)
    host = {
        "machine": platform.machine(),
        "device": setup.compute.text,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": date.today().isoformat(),
    }
    asked = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    print(json.dumps({"benchmark": "ablations", "host": host, "options": asked, "results": results}))


if __name__ == "__main__":
    try:
        main()
    except PonasError as error:
        sys.exit(f"error: {error}")
