"""What is to be deployed, before anything of it is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ponas_deploy.backends import QUANTISED, Session
from ponas_deploy.engines.accuracy import Accuracy
from ponas_deploy.engines.calibration import IMAGES_FROM
from ponas_deploy.engines.precisions import PrecisionLoss
from ponas_deploy.engines.preprocessing import Preprocessing, model_metadata
from ponas_deploy.engines.reranker import Reranker, Validate, refuse_shortlist, without_doubles
from ponas_deploy.errors import PonasError
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import LATENCY
from ponas_deploy.search.genetic import GeneticSettings
from ponas_deploy.search.specialize import Specialization, shortlist, specialize, within_latency
from ponas_deploy.tables.accuracy_quality import accuracy_warnings
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.margin import CONFIDENCE
from ponas_deploy.tables.quality import usable_tables
from ponas_deploy.tables.store import StoredAccuracy, StoredTable
from searchspace.architecture import Architecture
from searchspace.space import Space
from searchspace.weights import Weights, random_weights

RANDOM_WEIGHTS = "the weights are random: the latency is real, the answers to images mean nothing."
"""Said wherever an engine with weights that were never trained is made, checked or used."""
RANDOM_WEIGHTS_GUESSED = "the weights are random: the answers to images mean nothing."
"""The same where the latency is an estimate, or nobody measured it."""


def random_weights_warning(*, measured: bool) -> str:
    """What is said of random weights, where the latency was `measured` or not."""
    return RANDOM_WEIGHTS if measured else RANDOM_WEIGHTS_GUESSED


@dataclass(frozen=True, slots=True)
class Validation:
    """Labelled images that are neither trained nor tested on, for accuracy through engines.

    `weights` are those of a network as it is evaluated (batch norm recalibrated, not fine-tuned); `accuracy`
    sends the images through an open engine of some batch; `data` says which they are.
    """

    weights: Callable[[Architecture], Weights]
    accuracy: Callable[[Session, int], Accuracy]
    data: str


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where an engine's weights come from.

    `tensors` gives the weights of any network, quickly, since every attempt is built with them;
    `finish` those of the chosen one, however long that takes (fine-tuning), None for the same.
    `top1_pct` measures the accuracy of an open engine of some batch on the test images that
    `tested_on` names; None where there is nothing to measure. `validate` evaluates networks before
    anything of them is built, for a shortlist. `images` are (count, 3, height, width) float32 as the network
    wants them, which INT8 scales come from, and `images_from` is the file or folder that they lie in, where
    that is one; weights that were not `trained` can do without. `preprocessing`
    is how images become the network's input, and `class_names` are in the order of its outputs, where the
    weights say it. `file` is where they lie, and
    `network` the one network that they are of, by name or text form (empty where it is not known); None where
    they are for any. `warnings` are what is to be said against them, `batch_norm`
    whether a supernet's statistics were recalibrated (empty for a network's own). `too_few` says that
    `validate` has too few images to compare networks by; it is empty where there are enough.
    `validation` are images that say what a precision loses; None where there are none.
    """

    description: str
    tensors: Callable[[Architecture], Weights]
    finish: Callable[[Architecture], Weights] | None = None
    top1_pct: Callable[[Session, int], float] | None = None
    tested_on: str = ""
    validate: Validate | None = None
    images: Callable[[], NDArray[np.float32]] | None = None
    trained: bool = True
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()
    file: str = ""
    network: str | None = None
    warnings: tuple[str, ...] = ()
    batch_norm: str = ""
    too_few: str = ""
    images_from: Path | None = None
    validation: Validation | None = None

    @property
    def warnings_unmeasured(self) -> tuple[str, ...]:
        """The same where nobody measured the latency."""
        return tuple(RANDOM_WEIGHTS_GUESSED if text == RANDOM_WEIGHTS else text for text in self.warnings)

    def metadata(self, architecture: Architecture) -> dict[str, str]:
        """What an ONNX model with these weights says of itself."""
        said = model_metadata(self.preprocessing, architecture.space.resolution, self.class_names)
        return said if self.trained else {**said, "weights": self.description}

    def scales_from(self, precision: str) -> tuple[tuple[str, str], ...]:
        """What an environment says of where the images of an engine's scales lie; nothing for others."""
        used = precision in QUANTISED and self.images is not None and self.images_from is not None
        return ((IMAGES_FROM, str(self.images_from)),) if used else ()

    def scale_images(self, precision: str) -> NDArray[np.float32] | None:
        """The images that the scales of an engine come from; None where it has no scales, or random weights.

        PonasError for trained weights without images: scales of random ones would ruin their accuracy.
        """
        if precision not in QUANTISED:
            return None
        if self.images is not None:
            return self.images()
        if self.trained:
            raise PonasError(
                f"{self.description}: int8 scales of trained weights come from images, and there are none."
                " Give some with --calibration (a folder or FILE.npy), name their data set with --data (with"
                " the extra 'train'), or ask for another --precision."
            )
        return None


def random_source(seed: int = 0) -> WeightsSource:
    """Weights of a network that was never trained: right for latency, useless for images."""
    description = f"random (seed {seed}), not trained"
    return WeightsSource(
        description, lambda a: random_weights(a, seed), trained=False, warnings=(RANDOM_WEIGHTS,)
    )


@dataclass(frozen=True, slots=True)
class AtResolution:
    """The space at a resolution, and the accuracy table and the weights as they count there."""

    space: Space
    accuracy: StoredAccuracy
    weights: WeightsSource


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be deployed: the device's tables, the accuracy table, the budget, the space, the weights.

    The latency budget is on the `percentile` of single inferences. `confidence` is the share of networks
    that the margin of a table keeps under it, where nothing was measured yet. With `shortlist` so many of
    the best networks by the tables are evaluated on validation images, and those decide; 0: the tables
    decide. `warnings` are what is known against the tables besides what they hold; `tables_doubted` says
    whether `trusting` found any of the tables. Where tables are of several resolutions, `further` holds what
    differs at those that are not the space's. `only` is the one network that may be chosen, where another
    search chose it: what is left to choose is the table, which is a runtime and a precision. `throughput` are
    the images a second that were asked for, None where the budget is on single inferences.
    `precision_losses` are what precisions lose, counted for the tables of each.
    """

    tables: tuple[StoredTable, ...]
    accuracy: StoredAccuracy
    budget: Budget
    space: Space
    weights: WeightsSource
    method: str = "exact"
    seed: int = 0
    settings: GeneticSettings | None = None
    shortlist: int = 0
    confidence: float = CONFIDENCE
    percentile: int = 50
    warnings: tuple[str, ...] = ()
    further: tuple[AtResolution, ...] = ()
    tables_doubted: bool = False
    only: Specialization | None = None
    throughput: float | None = None
    precision_losses: tuple[PrecisionLoss, ...] = ()

    def of(self, stored: StoredTable) -> Task:
        """The task at the resolution of one of its tables, with what its precision loses counted."""
        key = stored.table.space
        for one in self.further:
            if key and key.resolution == one.space.resolution:
                here = replace(self, space=one.space, accuracy=one.accuracy, weights=one.weights, further=())
                return here.of(stored)
        counted = self.accuracy.table.in_precision(self.lost_points(stored))
        return replace(self, accuracy=replace(self.accuracy, table=counted))

    def lost_points(self, stored: StoredTable) -> float:
        """What the precision of a table loses, in percentage points; 0 where nothing says it."""
        how = stored.conditions
        found = (one for one in self.precision_losses if one.backend == how.backend)
        return next((one.points for one in found if one.precision == how.precision), 0.0)

    def trusting(self, *, promise: bool) -> Task:
        """The task with the tables that can be used and all warnings; see `usable_tables`."""
        named = {stored.name: stored.table for stored in self.tables}
        kept, warnings = usable_tables(named, confidence=self.confidence, promise=promise)
        tables = tuple(stored for stored in self.tables if stored.name in kept)
        accuracies = {one.path: one.table for one in (self.accuracy, *(one.accuracy for one in self.further))}
        of_losses = [text for table in accuracies.values() for text in accuracy_warnings(table)]
        of_tables = (*self.warnings, *warnings, *of_losses)
        guessed = bool(tables) and all(stored.table.estimated for stored in tables)
        of_weights = self.weights.warnings if not guessed else self.weights.warnings_unmeasured
        said = (*of_tables, *of_weights)
        return replace(self, tables=tables, warnings=said, tables_doubted=bool(of_tables))

    def reranker(self) -> Reranker | None:
        """What decides beside the tables; PonasError where the weights or the method allow no shortlist."""
        if not self.shortlist:
            return None
        weights = self.weights
        refuse_shortlist(self.method, weights.validate, weights.description, weights.too_few)
        return Reranker(self.shortlist, self.space, self.weights.validate) if self.weights.validate else None

    def choose(
        self, table: LatencyTable, count: int, budget: Budget | None = None
    ) -> Sequence[Specialization]:
        """The best networks by a table, up to `count`; the genetic algorithm gives one, by `count`'s seed."""
        wanted, accuracy = budget or self.budget, self.accuracy.table
        if self.only:
            return [within_latency(self.only, table, wanted)]
        if self.shortlist and [*wanted] == [LATENCY.name]:
            table = without_doubles(table, accuracy)
        if self.method == "exact":
            return shortlist(table, accuracy, wanted, count, space=self.space)
        seed = self.seed + count - 1
        return [
            specialize(
                table,
                accuracy,
                wanted,
                space=self.space,
                method=self.method,
                seed=seed,
                settings=self.settings,
            )
        ]
