"""Progressive fine-tuning: layer by layer, what is each candidate worth?

"Two-stage training", arXiv 2003.05112, section 3.2. The layer's block is replaced by all candidates,
each cropped from the largest block, and they are fine-tuned with strict fairness (arXiv 1907.01845):
each gets exactly one update on each batch. Their validation accuracy is a row of the table; the best
stays before the next layer starts.

What the paper leaves open: everything but the candidates is in evaluation mode, and the candidates'
batch norm statistics are measured anew before their accuracy is, because running averages lag behind
weights that have just moved. With the frozen rest in evaluation mode images do not influence each
other there, so the outputs of all candidates go through it as one batch, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ponas_deploy.errors import PonasError
from searchspace import Layer, Space
from train.compute import Compute
from train.crop import crop, largest
from train.data import Images, Splits
from train.errors import TrainingError
from train.features import Through, kept
from train.loop import EVALUATION_BATCH, Evaluation, Tally, recalibrate, sgd
from train.modules import Block, Network, frozen
from train.progress import LayerRow, OnProgress, Progress, silent
from train.seeds import derive, shuffled
from train.settings import FineTuneSettings

CALIBRATION_IMAGES = 8192


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
    """Fine-tune layer after layer; each is yielded when its best candidate stands in `network`.

    `network` is the meta network, whose first `finished` layers are done already. It is changed in
    place. Raises TrainingError when a loss is not finite; the layers yielded before stand.
    """
    if settings.epochs < 1:
        raise PonasError(f"{settings.epochs} epochs of fine-tuning: at least 1 is needed.")
    train, validation = splits.train, splits.validation
    shapes, behind = space.layer_shapes(), _Units(len(space.layers), finished)
    caching = settings.scope == "candidates"
    for index in range(finished, len(space.layers)):
        layer = space.layers[index]
        before, block, after = network.split(index)
        if caching:
            new = before if index == finished else before[-1:]
            limit = settings.cache_mib * len(train.labels) / (len(train.labels) + len(validation.labels))
            train = kept(Through(train, frozen(new), compute), shapes[index], limit)
            validation = kept(
                Through(validation, frozen(new), compute), shapes[index], settings.cache_mib - limit
            )
        candidates = cropped(layer, block, compute)
        tuning = LayerTuning(
            candidates,
            nn.Sequential() if caching else nn.Sequential(*before).eval(),
            frozen(after) if caching else nn.Sequential(*after).eval(),
            settings,
            compute,
            f"layer {layer.name}",
        )
        tuning.train(train, behind.reporter(index, on_progress, layer, _steps(train, settings)), layer.name, seed)
        tuning.recalibrate(train)
        row = _row(layer, tuning.evaluate(validation))
        network.replace(index, row.chosen, candidates[row.labels.index(row.chosen)])
        behind.finish(index, on_progress, row)
        yield TunedLayer(row, tuple(candidates))
