"""What `ablations.py` trains and evaluates: each part a dictionary of plain values, kept as JSON."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ponas_deploy.files.documents import Format, read_raw
from ponas_deploy.files.records import write_json
from ponas_deploy.files.weights import Arrays
from ponas_deploy.fitting import fit_networks, table_of
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.networks_csv import Networks
from searchspace import Architecture, Space
from train.compute import Compute, generator
from train.data import Images, Splits
from train.networks import Network, initialise, to_arrays
from train.progress import Evaluation, TrainingProgress, silent
from train.settings import FineTuneSettings, MetaSettings, SpecializedSettings
from train.stages import (
    Choices,
    Subnet,
    Supernet,
    evaluate,
    evaluate_subnets,
    fine_tune,
    train_fair,
    train_meta,
    train_network,
)
from train.stages.meta import stepped

FORMAT = Format("ponas.ablation", 1, dict)
TOGETHER = 8  # networks that are evaluated side by side
META_SHARE = 0.6  # of the epochs: 30 of 50 in the paper

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all parts share. `subnets` are the networks that every supernet is evaluated on."""

    out: Path
    meta: MetaSettings
    fine_tune: FineTuneSettings
    alone: SpecializedSettings
    splits: Splits
    space: Space
    compute: Compute
    table: AccuracyTable
    tensors: Arrays
    subnets: tuple[Choices, ...]

    def part(self, name: str, make: Callable[[], Mapping[str, Any]]) -> Document:
        """A finished part, read; otherwise what `make` finds, kept."""
        path = self.out / f"{name}.json"
        if not path.exists():
            start = time.perf_counter()
            write_json(path, FORMAT.tag, make(), overwrite=True)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        return dict(read_raw(path, FORMAT).data)


class Clock:
    """What steps take, wall and CPU seconds: from report to report, an epoch's or layer's first left out."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._steps: list[tuple[float, float]] = []

    def __call__(self, progress: TrainingProgress) -> None:
        now = time.perf_counter(), time.process_time()
        if self._last and not progress.milestone:
            self._steps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = None if progress.milestone else now

    def result(self) -> Document:
        """Empty when every step was done before, by a call that was broken off."""
        wall, cpu = zip(*self._steps, strict=True) if self._steps else ((), ())
        return {"wall_s": list(wall), "cpu_s": list(cpu)}


def evaluated(setup: Setup, tensors: Arrays, networks: Sequence[Choices], images: Images) -> list[Subnet]:
    """Networks with inherited weights and recalibrated batch norm on `images`."""
    supernet, splits = Supernet(setup.space, tensors, setup.compute), replace(setup.splits, validation=images)
    groups = (networks[start : start + TOGETHER] for start in range(0, len(networks), TOGETHER))
    return [each for group in groups for each in evaluate_subnets(supernet, group, splits, setup.compute, 0)]


def stages(setup: Setup, seed: int, layer_epochs: int) -> dict[str, Document]:
    """All ways to a supernet with one seed, each evaluated on the same networks and the same search."""
    found = {
        "meta": setup.part(f"stages-meta-{seed}", lambda: trained_meta(setup, seed)),
        "two": setup.part(f"stages-two-{seed}", lambda: fair_supernet(setup, seed, two=True)),
        "one": setup.part(f"stages-one-{seed}", lambda: fair_supernet(setup, seed, two=False)),
    }
    if layer_epochs:
        name = f"stages-progressive-{seed}"
        found["progressive"] = setup.part(name, lambda: progressive(setup, seed, layer_epochs))
    return found


def meta_settings(setup: Setup) -> MetaSettings:
    """The first epochs of the whole schedule."""
    epochs = round(META_SHARE * setup.meta.epochs)
    return replace(setup.meta, epochs=epochs, decay_at=tuple(at / META_SHARE for at in setup.meta.decay_at))


def meta_network(setup: Setup, seed: int, clock: Clock | None = None) -> tuple[Network, Evaluation]:
    """Trained where it is not yet; its state stays in the folder for the stages that start from it."""
    return train_meta(
        setup.space,
        setup.splits,
        meta_settings(setup),
        seed=seed,
        compute=setup.compute,
        state=setup.out / f"meta-{seed}.state.safetensors",
        on_progress=clock or silent,
    )


def trained_meta(setup: Setup, seed: int) -> Document:
    clock = Clock()
    _, evaluation = meta_network(setup, seed, clock)
    return {**clock.result(), "epochs": meta_settings(setup).epochs, "top1_pct": evaluation.top1_pct}


def fair_supernet(setup: Setup, seed: int, two: bool) -> Document:
    """Strict fairness for all epochs from random weights, or for the last ones from the meta network's."""
    settings, done = setup.meta, meta_settings(setup).epochs
    if two:
        rest = settings.epochs - done
        later = tuple((at * settings.epochs - done) / rest for at in settings.decay_at)
        decays = tuple(at for at in later if at > 0)
        settings = replace(settings, epochs=rest, lr=stepped(settings, done), decay_at=decays)
    clock, state = Clock(), setup.out / f"{'two' if two else 'one'}-{seed}.state.safetensors"
    supernet, _ = train_fair(
        setup.space,
        setup.splits,
        settings,
        seed=seed,
        compute=setup.compute,
        meta=meta_network(setup, seed)[0] if two else None,
        state=state,
        on_progress=clock,
    )
    found = worth(setup, to_arrays(supernet.state_dict()))
    state.unlink()
    return {**clock.result(), "epochs": settings.epochs, **found}


def progressive(setup: Setup, seed: int, epochs: int) -> Document:
    network, clock = meta_network(setup, seed)[0], Clock()
    tensors: dict[str, torch.Tensor] = {}
    settings = replace(setup.fine_tune, epochs=epochs)
    for layer in fine_tune(
        setup.space, network, setup.splits, settings, seed=seed, compute=setup.compute, on_progress=clock
    ):
        for label, block in zip(layer.row.labels, layer.candidates, strict=True):
            prefix = f"layers.{layer.row.layer}.{label}."
            tensors |= {prefix + name: tensor for name, tensor in block.state_dict().items()}
    ends = {name: t for name, t in network.state_dict().items() if not name.startswith("layers.")}
    return {**clock.result(), "epochs": epochs, **worth(setup, to_arrays({**tensors, **ends}))}


def worth(setup: Setup, tensors: Arrays) -> Document:
    """What random networks of a supernet reach, and the best network that they lead to.

    It is the best of them, or that of the best candidate of each layer in a table fitted to them,
    whichever is better on the validation images; what it is worth, the test images say.
    """
    splits = setup.splits
    found = evaluated(setup, tensors, setup.subnets, splits.validation)
    top1_pct = {each.choices: each.evaluation.top1_pct for each in found}
    tried = list(found)
    if len(set(top1_pct.values())) > 1:  # a supernet that has learned nothing ranks nothing
        table = table_of(fit_networks(networks_of(setup.space, setup.out / "random.csv", top1_pct)))
        assert isinstance(table, AccuracyTable)
        by_layer, _ = best_and_worst(table, setup.space)
        tried += evaluated(setup, tensors, [by_layer], splits.validation)
    best = max(tried, key=lambda each: each.evaluation.top1_pct)
    tested = evaluated(setup, tensors, [best.choices], splits.test)[0]
    return {
        "subnets_pct": list(top1_pct.values()),
        "best": list(best.choices),
        "best_validation_pct": best.evaluation.top1_pct,
        "best_test_pct": tested.evaluation.top1_pct,
    }


def networks_of(space: Space, path: Path, top1_pct: Mapping[Choices, float]) -> Networks:
    layers, lines = tuple(layer.name for layer in space.layers), tuple(range(2, len(top1_pct) + 2))
    return Networks(path, layers, tuple(top1_pct), tuple(top1_pct.values()), "accuracy", lines)


def trained_alone(setup: Setup, choices: Choices, seed: int) -> Document:
    """One network from random weights, and its accuracy on images that it never saw."""
    network = Network(Architecture(setup.space, choices))
    initialise(network, generator(seed, "weights"))
    setup.compute.place(network)
    state = setup.out / f"{alone_name(choices, seed)}.state.safetensors"
    train_network(network, setup.splits, setup.alone, seed=seed, compute=setup.compute, state=state)
    found = {
        name: asdict(evaluate(network, images, setup.compute))
        for name, images in (("validation", setup.splits.validation), ("test", setup.splits.test))
    }
    state.unlink()
    return {"choices": list(choices), "seed": seed, **found}


def alone_name(choices: Choices, seed: int) -> str:
    return f"alone-{hashlib.sha256(','.join(choices).encode()).hexdigest()[:10]}-{seed}"


def alone_pct(setup: Setup, choices: Choices, seed: int) -> float:
    """Top-1 on validation and test images together: training saw neither."""
    part = setup.part(alone_name(choices, seed), lambda: trained_alone(setup, choices, seed))
    sets = (part["validation"], part["test"])
    return float(np.average([s["top1_pct"] for s in sets], weights=[s["images"] for s in sets]))


def inherited(setup: Setup) -> Document:
    found = evaluated(setup, setup.tensors, setup.subnets, setup.splits.validation)
    return {
        "top1_pct": [each.evaluation.top1_pct for each in found],
        "halves_pct": [list(each.halves_pct) for each in found],
    }


def variants(setup: Setup) -> dict[str, Choices]:
    """The paper's three networks, and the best of the table; the least important layers are two there too."""
    best, worst = best_and_worst(setup.table, setup.space)
    order = np.argsort([max(row) for row in setup.table.loss.values], kind="stable").tolist()
    return {
        "worst": worst,
        "worst+least": with_best(worst, best, order[:2]),
        "worst+most": with_best(worst, best, order[-1:]),
        "best": best,
    }


def with_best(worst: Choices, best: Choices, layers: Sequence[int]) -> Choices:
    return tuple(best[index] if index in layers else label for index, label in enumerate(worst))


def best_and_worst(table: AccuracyTable, space: Space) -> tuple[Choices, Choices]:
    """The candidates of least and of most loss in every layer.

    Of equal ones the best is the last, in PONAS the largest, and the worst the first: where a layer makes no
    difference to the table, the two still differ.
    """
    loss = table.loss
    by_layer = {
        name: dict(zip(labels, row, strict=True))
        for name, labels, row in zip(loss.layers, loss.candidates, loss.values, strict=True)
    }
    rows = [by_layer[layer.name] for layer in space.layers]
    return (
        tuple(min(reversed(row), key=row.__getitem__) for row in rows),
        tuple(max(row, key=row.__getitem__) for row in rows),
    )


def inherited_variants(setup: Setup, networks: Mapping[str, Choices]) -> Document:
    found = evaluated(setup, setup.tensors, list(networks.values()), setup.splits.validation)
    return {name: each.evaluation.top1_pct for name, each in zip(networks, found, strict=True)}
