"""The folder of a training run: its files are written and read here; `train.files.paths` lists them.

Of several processes the first alone touches the disk, the others get what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ponas_deploy.errors import ArchitectureError, FileFormatError, WeightsError
from ponas_deploy.files.weights import Arrays, WeightsFile, read_weights, write_weights
from searchspace import Architecture, Space, build_space
from train.compute import Compute, distributed
from train.data import Splits, load
from train.files import RUN, RunLog, RunPaths, claim, rows_of, rows_text
from train.networks import Network, describe, load_arrays, refuse_other_images, to_arrays
from train.progress import LayerRow, OnProgress, TrainingProgress, both, silent
from train.settings import TrainSettings, deciding
from train.stages import TunedLayer

# These do not change what is trained, only where and how fast.
_FREE = ("device", "workers", "fine_tune.pass_images")


def space_of(settings: TrainSettings) -> Space:
    """The space of a run before its images are read; SpaceError for a resolution that it is not made for."""
    name, resolution = settings.space, settings.resolution
    return build_space(name, resolution) if resolution else build_space(name)


def opened(settings: TrainSettings, paths: RunPaths, on_progress: OnProgress) -> RunFolder:
    """Read the images of a run; nothing is written before `RunFolder.claim`."""
    on_progress(TrainingProgress("data", 0, 1, settings.data))
    reading = partial(
        load,
        settings.data,
        resolution=settings.resolution,
        seed=settings.seed,
        workers=settings.workers or distributed.own_cores(),
        on_progress=on_progress,
    )
    splits = distributed.in_turn(reading)
    space = build_space(settings.space, splits.resolution, splits.classes)
    on_progress(TrainingProgress("data", 1, 1, f"{len(splits.train.labels)} training images"))
    return RunFolder(paths, space, splits, settings.seed)


@dataclass(frozen=True, slots=True)
class RunJob:
    """A run at work: what was asked for, where it goes, what computes, and whom it tells."""

    settings: TrainSettings
    folder: RunFolder
    compute: Compute
    on_progress: OnProgress


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a recipe: `train` makes the file that it `leaves`, and goes on with one that was stopped."""

    leaves: Path
    train: Callable[[RunJob], None]


def run_stages(stages: Sequence[Stage], job: RunJob) -> None:
    """Train the stages whose file is not there yet, one after the other; the first process writes the log.

    What torch draws is decided by the run's seed.
    """
    left = [stage for stage in stages if not job.folder.has(stage.leaves)]
    if not left:
        return
    with job.compute.seeded(job.settings.seed):  # what torch draws for new modules is overwritten
        if distributed.leads():
            with RunLog(job.folder.paths.log) as log:
                _train(left, replace(job, on_progress=both(log, job.on_progress)))
        else:
            _train(left, replace(job, on_progress=silent))


def _train(stages: Sequence[Stage], job: RunJob) -> None:
    for stage in stages:
        stage.train(job)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that belongs to one run."""

    paths: RunPaths
    space: Space
    splits: Splits
    seed: int

    def claim(self, settings: TrainSettings) -> None:
        """Start or continue a run here; RunMismatchError when the folder holds a run of other settings."""
        paths, identity = self.paths, self._identity(settings)
        results = (paths.table, paths.weights, paths.meta)
        usual = replace(TrainSettings(), space=settings.space, recipe=settings.recipe)
        defaults = deciding(usual) | {"space": TrainSettings().space}
        distributed.first(lambda: claim(paths.folder, RUN, identity, results, _FREE, defaults))
        distributed.first(paths.sweep)

    def has(self, path: Path) -> bool:
        """Whether a file is there."""
        return distributed.first(path.exists)

    def save_meta(self, network: Network) -> None:
        """Keep the meta network; its training state is no longer needed."""
        self.save_network(self.paths.meta, network)
        distributed.first(partial(self.paths.meta_state.unlink, missing_ok=True))

    def save_network(self, path: Path, network: Network) -> None:
        """Keep a whole network."""
        self._write(path, to_arrays(network.state_dict()), self._header("network", network))

    def load_network(self, path: Path, compute: Compute) -> Network:
        """A network that was kept."""
        return self._load(path, compute)[0]

    def save_weights(self, path: Path, layout: str, tensors: Arrays) -> None:
        """Keep a supernet, or what has become of it so far."""
        self._write(path, tensors, describe(layout, self.space, self.splits, self.seed))

    def load_weights(self, path: Path, load: Callable[[WeightsFile], None]) -> None:
        """Let `load` take over a supernet that was kept; FileFormatError where it raises WeightsError."""
        try:
            load(distributed.first(partial(read_weights, path)))
        except WeightsError as error:
            raise FileFormatError(path, "", f"is not a supernet of this run: {error}") from error

    def save_layer(self, network: Network, rows: Sequence[LayerRow], tuned: TunedLayer) -> None:
        """Keep a finished layer, then the network with its best candidate and all rows so far."""
        prefix = f"layers.{tuned.row.layer}"
        tensors = {
            f"{prefix}.{label}.{name}": tensor
            for label, block in zip(tuned.row.labels, tuned.candidates, strict=True)
            for name, tensor in block.state_dict().items()
        }
        self._write(self.paths.layer(tuned.row.layer), to_arrays(tensors), {"layout": "candidates"})
        header = {**self._header("network", network), "rows": rows_text(rows)}
        self._write(self.paths.network, to_arrays(network.state_dict()), header)

    def load_unfinished(self, compute: Compute) -> tuple[Network, tuple[LayerRow, ...]]:
        """The network so far and the finished rows; the meta network when there are none yet."""
        return self._load(self.paths.network if self.has(self.paths.network) else self.paths.meta, compute)

    def load_meta(self, compute: Compute) -> Network:
        """The meta network."""
        return self.load_network(self.paths.meta, compute)

    def _load(self, path: Path, compute: Compute) -> tuple[Network, tuple[LayerRow, ...]]:
        file = distributed.first(partial(read_weights, path))
        try:
            refuse_other_images(file, self.splits)
            network = Network(Architecture.from_text(self.space, file.metadata["choices"]))
            load_arrays(network, file.tensors)
            rows = rows_of(file.metadata.get("rows", "[]"), path)
        except (ArchitectureError, WeightsError, KeyError) as error:
            raise FileFormatError(path, "", f"is not a network of this run: {error}") from error
        return compute.place(network), rows

    def save_supernet(self, network: Network) -> None:
        """Put stem, head and every candidate of every layer into one file."""
        tensors = to_arrays(network.state_dict())
        supernet: Arrays = {name: tensors[name] for name in tensors if not name.startswith("layers.")}

        def write() -> None:
            for layer in self.space.layers:
                supernet.update(read_weights(self.paths.layer(layer.name)).tensors)
            write_weights(self.paths.weights, supernet, self._header("supernet", network))

        distributed.first(write)

    def _write(self, path: Path, tensors: Arrays, header: dict[str, str]) -> None:
        distributed.first(lambda: write_weights(path, tensors, header))

    def _header(self, layout: str, network: Network) -> dict[str, str]:
        header = describe(layout, self.space, self.splits, self.seed)
        return {**header, "choices": ",".join(network.architecture.choices)}

    def _identity(self, settings: TrainSettings) -> dict[str, Any]:
        """Everything that decides what comes out."""
        parts = (self.splits.train, self.splits.validation, self.splits.test)
        known = {
            "resolution": self.space.resolution,
            "classes": self.space.classes,
            "fingerprint": self.space.fingerprint,
            "images": [len(part.labels) for part in parts],
        }
        return {**deciding(settings), **known}
