"""Which way of measuring repeats best, and which predicts networks best that it has not seen.

    python -m benchmarks.protocols --out FOLDER
    python -m benchmarks.protocols --out FOLDER --backend openvino --precision bf16 --threads 2
    python -m benchmarks.protocols --out FOLDER --variants

Raw rounds are gathered once and kept in --out (about four minutes a configuration, in two processes); what
can be compared afterwards is compared on them: statistics, levels of the machine, cells alone or in context,
corrections, and how a profile's time is best divided. --variants times what cannot: sample lengths, discarded
runs, retakes, sentinels, pinning. --swaps also builds a reference network with each block swapped. Tables for
people, then one JSON line. All errors are of networks that had no part in the fit, means over ten divisions.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command that profiles does

import numpy as np

from benchmarks.protocol_data import CHAIN, Raw, Target, gather, swapped
from benchmarks.protocol_evaluation import (
    CHECKS,
    Evaluation,
    Trial,
    by,
    evaluated,
    of_process,
    part,
    plain,
    repeats,
    rounds_in,
    space_of,
    squared,
    statistics,
)
from benchmarks.protocol_variants import VARIANTS, vary
from ponas_deploy.machines.machine import this_machine
from searchspace.space import Space

STATISTIC, FIT = "midmean", 32
FITS = (16, 24, 32, 48, 76)
Row = dict[str, Any]


def main() -> None:
    options = arguments()
    target = Target(
        options.backend,
        options.precision,
        options.threads,
        networks=options.networks,
        chains=not options.variants,
        rebuilt=0 if options.variants else 12,
        swaps=options.swaps,
        seconds=options.seconds,
        resolution=options.resolution,
        seed=options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    stem = f"{target.backend}-{target.precision}-t{target.threads}-{target.resolution}px-s{target.seed}"
    print(f"{this_machine().processor}: {target.name}\n")
    space = space_of(target.resolution)
    if options.variants:
        found = {"variants": list(of_variants(variants(target, options.out / f"{stem}-variants"), space))}
    else:
        raw = kept(target, options.out / f"{stem}{'-swaps' * target.swaps}.npz")
        print(
            f"{len(raw.networks())} networks, {raw.rounds_ns.shape[1]} rounds in"
            f" {target.processes} processes\n"
        )
        found = {
            "statistics": list(of_statistics(raw, space)),
            "corrections": list(of_corrections(raw, space)),
            "budget": list(of_budgets(raw, space, options.budget)),
        }
    print(json.dumps({"benchmark": "protocols", **asdict(target), **found}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=112.0, help="for each process")
    parser.add_argument("--budget", type=float, default=58.0, help="of the profile that is simulated")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--swaps", action="store_true")
    return parser.parse_args()


def kept(target: Target, path: Path) -> Raw:
    """The raw rounds, gathered where they are not there yet."""
    if not path.exists():
        gather(target).save(path)
    return Raw.load(path)


def variants(target: Target, folder: Path) -> dict[str, Raw]:
    """The raw rounds of each variant, likewise."""
    paths = {variant.name: folder / f"{variant.name}.npz" for variant in VARIANTS}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, raw in vary(target).items():
            raw.save(paths[name])
    return {name: Raw.load(path) for name, path in paths.items()}


def of_statistics(raw: Raw, space: Space) -> Iterator[Row]:
    """How each statistic repeats, with and without levels; prediction in the first half of one process."""
    cells = sorted({cell.key for row in space.cells() for cell in row})
    first = of_process(raw, 0)
    half = part(first, np.arange(first.rounds_ns.shape[1] // 2))
    print(
        "percent                    networks                              cells          half of the rounds"
    )
    print(
        f"{'statistic':16} {'levels':7} halves {'tau':>6} {'builds':>7} {'processes':>10} {'worse by':>9}",
        end="",
    )
    print(f" {'halves':>7} {'processes':>10} {'line':>6} {'ridge':>6} {'worst':>6} {'tau':>6}")
    for statistic, levelled in statistics():
        nets = repeats(raw, space, statistic, levelled, raw.networks())
        alone = repeats(raw, space, statistic, levelled, cells)
        trial = Trial(half, space, statistic, levelled)
        line, ridge = evaluated(trial, FIT, by(Trial.isolated, ())), evaluated(trial, FIT, by(Trial.isolated))
        print(
            f"{statistic:16} {'out' if levelled else 'in':7} {nets.halves_pct:6.2f} {nets.halves_tau:6.3f}"
            f" {nets.rebuilt_pct:7.2f} {nets.processes_pct:10.2f} {nets.level_pct:9.2f}"
            f" {alone.halves_pct:7.2f}"
            f" {alone.processes_pct:10.2f} {line.mean_pct:6.2f} {ridge.mean_pct:6.2f} {ridge.worst_pct:6.1f}"
            f" {ridge.tau:6.3f}"
        )
        yield {
            "statistic": statistic,
            "levelled": levelled,
            "networks": asdict(nets),
            "cells": asdict(alone),
            "line": asdict(line),
            "ridge": asdict(ridge),
        }
    print()


def of_corrections(raw: Raw, space: Space) -> Iterator[Row]:
    """Cells alone and in context, under every correction, with more and more networks to fit on."""
    reference = swap_reference(raw, space)
    left_out = frozenset(swapped(space, reference)) if reference else frozenset()
    trial = Trial(of_process(raw, 0), space, STATISTIC, left_out=left_out)
    ways = {
        "plain sum of isolated cells": plain,
        "line, squared loss": squared,
        "line": by(Trial.isolated, ()),
        "line, a factor a shape": by(Trial.isolated, ("shape",)),
        "line, traits": by(Trial.isolated, ("trait", "count")),
        "line, a factor a cell": by(Trial.isolated, ("cell",)),
        "line and ridge (the default)": by(Trial.isolated),
    }
    if any(key.startswith(CHAIN) for key in raw.keys):
        ways |= {"in a chain: line": by(Trial.in_chain, ()), "in a chain: line and ridge": by(Trial.in_chain)}
    if reference:

        def in_reference(one: Trial) -> Any:
            return one.swapped(reference)

        ways |= {"swapped: line": by(in_reference, ()), "swapped: line and ridge": by(in_reference)}
    fits = [fit for fit in FITS if fit + CHECKS <= len(trial.networks)]
    print("percent, networks to fit on:  " + "".join(f"{fit:>20}" for fit in fits))
    print(f"{'correction':30}" + f"{'mean  worst    tau':>20}" * len(fits))
    for name, way in ways.items():
        found = [evaluated(trial, fit, way) for fit in fits]
        print(
            f"{name:30}"
            + "".join(f"{one.mean_pct:8.2f} {one.worst_pct:5.1f} {one.tau:6.3f}"[-20:] for one in found)
        )
        yield {"correction": name, **{str(fit): asdict(one) for fit, one in zip(fits, found, strict=True)}}
    print()


def swap_reference(raw: Raw, space: Space) -> str:
    """The network that more others differ from by one block than a spread would have; empty without swaps."""
    texts = [text.split(",") for text in raw.networks()]
    near = [sum(sum(a != b for a, b in zip(one, two, strict=True)) == 1 for two in texts) for one in texts]
    return ",".join(texts[int(np.argmax(near))]) if max(near) > len(space.layers) else ""


def of_budgets(raw: Raw, space: Space, seconds: float) -> Iterator[Row]:
    """A profile's time: few networks and many rounds, or the other way round."""
    full = of_process(raw, 0)
    available = full.rounds_ns.shape[1]
    truth = Trial(full, space, STATISTIC)
    by_choice = dict(zip((net.choices for net in truth.networks), truth.times_ms, strict=True))
    print(f"{seconds:g} s, {CHECKS} networks to check with: percent, as certified and against all rounds")
    print(
        f"{'fit on':>7} {'rounds':>7} {'noise':>7} {'tau':>6} {'mean':>6} {'worst':>6} {'tau':>6} {'mean':>7}"
    )
    for fit in (one for one in FITS if one + CHECKS < len(truth.networks)):
        rounds = min(rounds_in(raw, seconds, fit), available)
        if rounds < 5:
            continue
        starts = sorted({0, (available - rounds) // 2, available - rounds})
        found: list[tuple[float, Evaluation, Evaluation, float]] = []
        for start in starts:
            some = part(full, np.arange(start, start + rounds))
            trial = Trial(some, space, STATISTIC)
            true = np.array([by_choice[net.choices] for net in trial.networks])
            level = float(np.median(trial.times_ms / true))
            noise = repeats(some, space, STATISTIC, True, raw.networks())
            found.append(
                (
                    noise.halves_pct,
                    evaluated(trial, fit, by(Trial.isolated)),
                    evaluated(trial, fit, by(Trial.isolated), level * true),
                    noise.halves_tau,
                )
            )
        noise_pct, noise_tau = (float(np.mean([one[place] for one in found])) for place in (0, 3))
        own = [
            float(np.mean([getattr(one[1], name) for one in found]))
            for name in ("mean_pct", "worst_pct", "tau")
        ]
        against = float(np.mean([one[2].mean_pct for one in found]))
        print(
            f"{fit:7} {rounds:7} {noise_pct:7.2f} {noise_tau:6.3f} {own[0]:6.2f} {own[1]:6.1f} {own[2]:6.3f}"
            f" {against:7.2f}"
        )
        yield {
            "fit": fit,
            "rounds": rounds,
            "noise_pct": noise_pct,
            "noise_tau": noise_tau,
            "mean_pct": own[0],
            "worst_pct": own[1],
            "tau": own[2],
            "against_all_pct": against,
        }
    print()


def of_variants(found: dict[str, Raw], space: Space) -> Iterator[Row]:
    """Each variant in the same time."""
    cells = sorted({cell.key for row in space.cells() for cell in row})
    print("percent                              halves of the rounds")
    print(f"{'variant':28} rounds networks {'tau':>6} {'cells':>6} {'line':>6} {'ridge':>6} {'worst':>6}")
    for name, raw in found.items():
        nets = repeats(raw, space, STATISTIC, True, raw.networks())
        alone = repeats(raw, space, STATISTIC, True, cells)
        trial = Trial(raw, space, STATISTIC)
        line, ridge = evaluated(trial, FIT, by(Trial.isolated, ())), evaluated(trial, FIT, by(Trial.isolated))
        rounds = raw.rounds_ns.shape[1]
        print(
            f"{name:28} {rounds:6} {nets.halves_pct:8.2f} {nets.halves_tau:6.3f} {alone.halves_pct:6.2f}"
            f" {line.mean_pct:6.2f} {ridge.mean_pct:6.2f} {ridge.worst_pct:6.1f}"
        )
        yield {
            "variant": name,
            "rounds": rounds,
            "networks": asdict(nets),
            "cells": asdict(alone),
            "line": asdict(line),
            "ridge": asdict(ridge),
        }
    print()


if __name__ == "__main__":
    main()
