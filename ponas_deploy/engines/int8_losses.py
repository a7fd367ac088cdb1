"""What the layers of a network lose in INT8, measured through a runtime: an accuracy table of a mixed space.

One layer at a time is quantised in a network that is otherwise in full precision, and both are evaluated
through the same runtime on the same validation images, which no network is tested on later. What is lost adds
to the loss of the block, as the losses of blocks add to each other (the paper's section 3.1 does that for
blocks). One network a layer says it for all candidates of the layer, or one a candidate. A network that wins
by chance loses nothing: a loss below zero counts as zero. Layers in INT8 lose the same images in part, so
that sums promise too much: one factor on all of them is fitted on random networks of blocks and precisions,
evaluated the same way. Others say how far the sums are off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ponas_deploy.backends import MIXED, Backend, RunSettings
from ponas_deploy.engines.task import Validation, WeightsSource
from ponas_deploy.errors import PonasError
from ponas_deploy.fitting.certify import LEAST_NETWORKS, certify_accuracy
from ponas_deploy.measuring.build_process import calibrated
from ponas_deploy.profiling.random_networks import draws
from ponas_deploy.tables.accuracy import AccuracyCertificate, AccuracyOrigin, AccuracyTable
from ponas_deploy.tables.grid import Grid, SpaceKey
from ponas_deploy.tables.networks_csv import Networks
from searchspace.architecture import Architecture, parse_architecture
from searchspace.mixed import MARK, in_int8, is_int8, mixed, plain_label, plain_network
from searchspace.space import Space
from searchspace.weights import Weights

OnEvaluated = Callable[[int, int], None]
"""Called with how many networks were evaluated, and of how many."""
NETWORKS = 16
_LARGEST_FACTOR = 2.0
"""Where layers lose an image or two, chance would make any factor of it."""
_BATCH = 16
_MOST_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class MixedNetwork:
    """A random network that certifies a table: top-1 in percent in full precision and with its precisions.

    `predicted_pp` is what its layers in INT8 lose together by the table.
    """

    choices: tuple[str, ...]
    full_pct: float
    mixed_pct: float
    predicted_pp: float

    @property
    def measured_pp(self) -> float:
        """What its layers in INT8 lost together."""
        return self.full_pct - self.mixed_pct


@dataclass(frozen=True, slots=True)
class Int8Losses:
    """A table of a mixed space, and how it came about.

    `measured_pp` are the losses of a layer's candidates that were evaluated, in percentage points, as they
    came out: below zero where INT8 was better. `reference` is the network that layers were quantised in.
    `factor` is what they are multiplied by, and those below zero by nothing, before they are added to the
    losses of blocks.
    """

    table: AccuracyTable
    reference: Architecture
    full_pct: float
    measured_pp: tuple[tuple[float, ...], ...]
    factor: float
    networks: tuple[MixedNetwork, ...]

    @property
    def mean_error_pp(self) -> float:
        """How far summed losses in INT8 are off, on average over the random networks."""
        return float(np.mean([abs(one.predicted_pp - one.measured_pp) for one in self.networks]))


@dataclass(slots=True)
class _Evaluator:
    """Evaluates networks of a mixed space through a runtime; `wanted` is how many there will be."""

    validation: Validation
    backend: Backend
    on_evaluated: OnEvaluated
    wanted: int
    done: int = 0
    known_pct: dict[Architecture, float] = field(default_factory=dict)
    _last: tuple[Architecture, Weights] | None = None
    """The network whose weights were made last: its layers are quantised one after another."""

    def top1_pct(self, architecture: Architecture) -> float:
        """Top-1 in percent on the validation images."""
        from searchspace.graph import network_model

        if architecture not in self.known_pct:
            tensors = self._tensors(plain_network(architecture))
            model = network_model(architecture, tensors, _BATCH).SerializeToString()
            with self.backend.load(model, RunSettings(MIXED)) as session:
                self.known_pct[architecture] = self.validation.accuracy(session, _BATCH).top1_pct
        self.done += 1
        self.on_evaluated(self.done, self.wanted)
        return self.known_pct[architecture]

    def _tensors(self, architecture: Architecture) -> Weights:
        if self._last is None or self._last[0] != architecture:
            self._last = architecture, self.validation.weights(architecture)
        return self._last[1]


def measure_int8_losses(
    space: Space,
    source: WeightsSource,
    base: AccuracyTable,
    backend: Backend,
    *,
    networks: int = NETWORKS,
    each_candidate: bool = False,
    seed: int = 0,
    on_evaluated: OnEvaluated = lambda done, wanted: None,
) -> Int8Losses:
    """Measure what layers lose in INT8 and add it to the losses of `base`, a table of `space`.

    `space` is without precisions. The network that layers are quantised in is that of least loss by `base`
    with no layer absent, or the one that the weights are of. With `each_candidate` every candidate of a layer
    is evaluated in both precisions, else that network's, whose loss stands for all of the layer. `networks`
    random ones certify the table, and half as many more say the factor; weights of one network have random
    precisions there.

    PonasError for weights without validation images or scales, and for fewer than 5 networks.
    """
    if source.validation is None:
        raise PonasError(
            f"{source.description}: what layers lose in int8 is measured on validation images, and there are"
            " none: name the data set with --data, with the extra 'train'."
        )
    if networks < LEAST_NETWORKS:
        raise PonasError(f"{networks} networks certify no table: ask for {LEAST_NETWORKS} or more.")
    whole, single = mixed(space), bool(source.network)
    if single and each_candidate:
        raise PonasError("weights of one network have one candidate a layer: leave --each-candidate out.")
    reference = _reference(space, source, base)
    trials = [_trials(whole, reference, layer, each_candidate) for layer in range(len(space.layers))]
    all_drawn = _masks(whole, reference, seed) if single else draws(whole, seed)
    drawn = list(islice(all_drawn, networks + networks // 2))
    count = sum(2 * len(one) for one in trials) + 2 * len(drawn) + 1
    images = source.scale_images(MIXED)
    evaluator = _Evaluator(source.validation, calibrated(backend, images), on_evaluated, count)
    full_pct = evaluator.top1_pct(reference)
    measured_pp = tuple(tuple(_lost_pp(evaluator, one) for one in of_layer) for of_layer in trials)
    costs = [
        _costs(layer.labels, [one.choices[at] for one in of_layer], lost)
        for at, (layer, of_layer, lost) in enumerate(zip(whole.layers, trials, measured_pp, strict=True))
    ]
    factor = _factor([_checked(evaluator, one, costs) for one in drawn[networks:]])
    costs = [{label: factor * lost for label, lost in of_layer.items()} for of_layer in costs]
    table = _table(whole, base, costs)
    checked = tuple(_checked(evaluator, one, costs) for one in drawn[:networks])
    origin = _origin(
        table, source.validation.data, backend.name, reference, factor, checked, each_candidate, seed, space
    )
    certificate = _certificate(table, checked, whole, source.validation.data)
    table = replace(table, origin=origin, certificate=certificate)
    return Int8Losses(table, reference, full_pct, measured_pp, factor, checked)


def _reference(space: Space, source: WeightsSource, base: AccuracyTable) -> Architecture:
    """In the mixed space, in full precision."""
    if source.network:
        return Architecture(mixed(space), parse_architecture(source.network, space).choices)
    losses = base.loss.aligned_to(_zeros(space), "the accuracy table", f"space '{space.name}'")
    choices = [
        min((loss, at) for at, loss in enumerate(row) if layer.candidates[at].ops or len(row) == 1)[1]
        for layer, row in zip(space.layers, losses.values, strict=True)
    ]
    return Architecture(mixed(space), Architecture.from_indices(space, choices).choices)


def _trials(space: Space, reference: Architecture, layer: int, each: bool) -> tuple[Architecture, ...]:
    """The reference with a candidate of one layer in INT8: its own, or each that has one."""
    own = reference.choices[layer]
    labels = [plain_label(one) for one in space.labels[layer] if is_int8(one)] if each else [own]
    return tuple(
        replace(
            reference, choices=(*reference.choices[:layer], f"{label}{MARK}", *reference.choices[layer + 1 :])
        )
        for label in labels
        if f"{label}{MARK}" in space.labels[layer]
    )


def _masks(space: Space, reference: Architecture, seed: int) -> Iterator[Architecture]:
    """The same network with random precisions, none twice."""
    random, seen = np.random.default_rng(seed), set[tuple[str, ...]]()
    on_integers = in_int8(space, reference.choices)
    for _ in range(_MOST_DRAWS):
        picked = random.integers(2, size=len(on_integers))
        pairs = zip(reference.choices, on_integers, picked, strict=True)
        choices = tuple(int8 if pick else full for full, int8, pick in pairs)
        if choices not in seen:
            seen.add(choices)
            yield Architecture(space, choices)


def _full(architecture: Architecture) -> Architecture:
    """The same blocks in full precision, in the mixed space."""
    return replace(architecture, choices=plain_network(architecture).choices)


def _lost_pp(evaluator: _Evaluator, architecture: Architecture) -> float:
    return evaluator.top1_pct(_full(architecture)) - evaluator.top1_pct(architecture)


def _costs(labels: Sequence[str], evaluated: Sequence[str], lost_pp: Sequence[float]) -> dict[str, float]:
    """What each candidate of a layer in INT8 loses: its own, or that of the one that was evaluated."""
    own = {label: max(lost, 0.0) for label, lost in zip(evaluated, lost_pp, strict=True)}
    one = max(own.values(), default=0.0)
    return {label: own.get(label, one) for label in labels if is_int8(label)}


def _zeros(space: Space) -> Grid:
    return Grid.over(space, ([0.0] * len(layer.labels) for layer in space.layers))


def _table(space: Space, base: AccuracyTable, costs: Sequence[dict[str, float]]) -> AccuracyTable:
    """The losses of blocks with those of INT8 on top; it ranks, and predicts no top-1."""
    known = {
        layer: dict(zip(labels, row, strict=True))
        for layer, labels, row in zip(base.loss.layers, base.loss.candidates, base.loss.values, strict=True)
    }
    rows = [
        [known[layer.name][plain_label(label)] + lost.get(label, 0.0) for label in layer.labels]
        for layer, lost in zip(space.layers, costs, strict=True)
    ]
    return AccuracyTable(
        Grid.over(space, rows, base.loss.fixed),
        space=SpaceKey.of(space),
        origin=base.origin,
        created=base.created,
    )


def _factor(networks: Sequence[MixedNetwork]) -> float:
    """What summed losses are multiplied by to come nearest to what networks lost (least squares); else 1."""
    summed = np.array([one.predicted_pp for one in networks])
    lost = np.array([one.measured_pp for one in networks])
    return float(np.clip(summed @ lost / (summed @ summed), 0, _LARGEST_FACTOR)) if summed.any() else 1.0


def _checked(
    evaluator: _Evaluator, architecture: Architecture, costs: Sequence[dict[str, float]]
) -> MixedNetwork:
    predicted_pp = sum(lost.get(label, 0.0) for lost, label in zip(costs, architecture.choices, strict=True))
    full_pct, mixed_pct = evaluator.top1_pct(_full(architecture)), evaluator.top1_pct(architecture)
    return MixedNetwork(architecture.choices, full_pct, mixed_pct, predicted_pp)


def _certificate(
    table: AccuracyTable, checked: Sequence[MixedNetwork], space: Space, made_on: str
) -> AccuracyCertificate | None:
    """How well summed losses rank mixed networks; None where their top-1 is the same, and nothing ranks."""
    if len({one.mixed_pct for one in checked}) < 2:
        return None
    rows = Networks(
        Path("networks"),
        tuple(layer.name for layer in space.layers),
        tuple(one.choices for one in checked),
        tuple(one.mixed_pct for one in checked),
        "accuracy",
        tuple(range(2, len(checked) + 2)),
    )
    return certify_accuracy(
        table, rows, method="inherited", made_on=f"{made_on}, in mixed precision", space=space
    )


def _origin(
    table: AccuracyTable,
    data: str,
    backend: str,
    reference: Architecture,
    factor: float,
    checked: Sequence[MixedNetwork],
    each_candidate: bool,
    seed: int,
    space: Space,
) -> AccuracyOrigin:
    """That of the losses of blocks, with how INT8 was measured among its details."""
    errors_pp = [one.predicted_pp - one.measured_pp for one in checked]
    ours = (
        ("int8", f"one {'candidate' if each_candidate else 'layer'} at a time, {backend}"),
        ("int8_on", data),
        ("int8_in", plain_network(reference).text),
        ("int8_factor", f"{factor:.3f}"),
        ("int8_mean_error_pp", f"{np.mean(np.abs(errors_pp)):.3f}"),
        ("int8_bias_pp", f"{np.mean(errors_pp):+.3f}"),
        ("int8_networks", str(len(checked))),
    )
    known = table.origin or AccuracyOrigin(
        data, "losses in int8", space.resolution, space.classes, 0, (), seed
    )
    return replace(known, details=(*known.details, *ours))
