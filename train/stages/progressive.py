"""Progressive fine-tuning: layer by layer, what is each candidate worth?

"Two-stage training", arXiv 2003.05112, section 3.2. The layer's block is replaced by all candidates,
each cropped from the largest block, and they are fine-tuned with strict fairness (arXiv 1907.01845):
each gets exactly one update on each batch. Their validation accuracy is a row of the table; the best
stays before the next layer starts.

What the paper leaves open, and what is done here. The rest of the network is in evaluation mode. The
candidates' batch norm statistics are measured again before their accuracy is, because running
averages lag behind weights that have just moved. Of candidates with equal accuracy the one with the
lower cross entropy on the same images stays, then the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import nn

from searchspace import Layer, Space
from train.compute import Compute, threads
from train.data import Images, Splits
from train.networks import Block, Network, frozen
from train.progress import Evaluation, LayerRow, OnProgress, TrainingProgress, silent
from train.settings import FineTuneSettings
from train.stages.candidates import CandidateTraining, cut
from train.stages.equivalent import equivalents
from train.stages.features import Through, fits, kept


@dataclass(frozen=True, slots=True)
class TunedLayer:
    """A layer's candidates after fine-tuning, in the order of `row.labels`."""

    row: LayerRow
    candidates: tuple[Block, ...]


def fine_tune(
    space: Space,
    network: Network,
    splits: Splits,
    settings: FineTuneSettings,
    *,
    seed: int,
    compute: Compute,
    finished: int = 0,
    on_progress: OnProgress = silent,
) -> Iterator[TunedLayer]:
    """Fine-tune layer after layer; each is yielded once its best candidate is in `network`.

    `network` is the meta network, whose first `finished` layers are done already. It is changed in
    place. Raises TrainingError when a loss is not finite; the layers yielded before it are finished.
    """
    network.eval()
    if settings.scope == "path":
        compute = replace(compute, lanes=1)  # the candidates add up gradients in shared parts
    halves = (
        _WholePath(network, splits)
        if settings.scope == "path"
        else _Frozen(space, network, splits, settings, compute)
    )
    running = _running(space, settings)
    units = _Units(space, splits, settings, running)
    for index in range(finished, len(space.layers)):
        layer, source, places = space.layers[index], network.parts()[index + 1], running[index]
        with threads(1 if compute.lanes > 1 else 0):  # for what runs between the lanes, too
            before, after, train, validation = halves.at(index)
            runners = {place: cut(layer.candidates[place], source, compute) for place in sorted(set(places))}
            candidate_training = CandidateTraining(
                f"layer {layer.name}", list(runners.values()), before, after, settings, compute
            )
            candidate_training.train(train, seed, units.reporter(index, on_progress))
            candidate_training.recalibrate(train, seed)
            found = dict(zip(runners, candidate_training.evaluate(validation), strict=True))
            row = _row(layer, tuple(found[place] for place in places))
            candidates = tuple(
                runners[place] if place == own else cut(layer.candidates[own], runners[place], compute)
                for own, place in enumerate(places)
            )
        network.replace(index, row.chosen, candidates[row.labels.index(row.chosen)])
        text = f"layer {layer.name} of {len(space.layers)}"
        done = units.until(index + 1)
        on_progress(TrainingProgress("fine-tune", done, units.total, text, row=row, milestone=True))
        yield TunedLayer(row, candidates)


def _running(space: Space, settings: FineTuneSettings) -> list[tuple[int, ...]]:
    """For each candidate of each layer the one that trains for it (`train.stages.equivalent`).

    Where the shared parts learn from all of them, each trains for itself.
    """
    if settings.scope == "path":
        return [tuple(range(len(layer.candidates))) for layer in space.layers]
    return [
        equivalents(layer, shape) for layer, shape in zip(space.layers, space.layer_shapes(), strict=False)
    ]


def _row(layer: Layer, evaluations: tuple[Evaluation, ...]) -> LayerRow:
    best = max(
        range(len(evaluations)), key=lambda i: (evaluations[i].top1_pct, -evaluations[i].cross_entropy)
    )
    return LayerRow(
        layer.name,
        layer.labels,
        tuple(evaluation.top1_pct for evaluation in evaluations),
        tuple(evaluation.cross_entropy for evaluation in evaluations),
        layer.labels[best],
    )


Halves = tuple[nn.Module, nn.Module, Images, Images]
"""The parts before and after a layer, and the training and validation images to send through."""


class _WholePath:
    """Everything trains: images run through the network's own parts, batch after batch."""

    def __init__(self, network: Network, splits: Splits) -> None:
        self._network, self._splits = network, splits

    def at(self, index: int) -> Halves:
        parts = self._network.parts()
        before, after = nn.Sequential(*parts[: index + 1]), nn.Sequential(*parts[index + 2 :])
        return before.requires_grad_(), after.requires_grad_(), self._splits.train, self._splits.validation


class _Frozen:
    """Nothing but the candidates trains: images start as the features that the layer sees.

    The features of a layer come from those of the layer before; they are held in memory as soon as
    they fit.
    """

    def __init__(
        self,
        space: Space,
        network: Network,
        splits: Splits,
        settings: FineTuneSettings,
        compute: Compute,
    ) -> None:
        self._shapes, self._network, self._compute = space.layer_shapes(), network, compute
        self._limit_mib, self._done = settings.cache_mib, 0
        self._train, self._validation = splits.train, splits.validation
        self._rest = frozen(network.parts())  # behind the layer nothing changes

    def at(self, index: int) -> Halves:
        new = frozen(self._network.parts()[self._done : index + 1])
        self._done = index + 1
        self._train = Through(self._train, new, self._compute)
        self._validation = Through(self._validation, new, self._compute)
        if fits(self._train, self._shapes[index], self._limit_mib):
            self._train, self._validation = kept(self._train), kept(self._validation)
        return nn.Identity(), self._rest[index + 2 :], self._train, self._validation


class _Units:
    """How much of the fine-tuning is done, in blocks run: the first layers have the most behind them."""

    def __init__(
        self, space: Space, splits: Splits, settings: FineTuneSettings, running: list[tuple[int, ...]]
    ) -> None:
        self._layers = len(space.layers)
        self._runners = [len(set(places)) for places in running]
        self._batch, self._lr = settings.batch, settings.lr
        self._steps = settings.epochs * max(len(splits.train.labels) // settings.batch, 1)
        self._names = [layer.name for layer in space.layers]

    @property
    def total(self) -> int:
        return self.until(self._layers)

    def until(self, layer: int) -> int:
        return sum(self._steps * self._weight(index) for index in range(layer))

    def _weight(self, index: int) -> int:
        return self._runners[index] * (self._layers - index + 1)  # the layer, those behind it, the head

    def reporter(self, index: int, on_progress: OnProgress) -> Callable[[float], None]:
        done, text = self.until(index), f"layer {self._names[index]} of {self._layers}"

        def after_step(loss: float) -> None:
            nonlocal done
            done += self._weight(index)
            metrics = (("cross_entropy", loss), ("lr", self._lr))
            on_progress(TrainingProgress("fine-tune", done, self.total, text, metrics, images=self._batch))

        return after_step
