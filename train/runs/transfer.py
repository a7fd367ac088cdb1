"""A supernet with shared weights fitted to the user's images: new classifier, accuracy table, in a folder.

    run.json                what was asked; a run of other settings is refused here
    log.csv                 how it went; see `train.files.log`
    STAGE.state.safetensors the supernet after the last finished epoch of `head` and `fine-tune`; gone when
                            training ends
    weights.safetensors     the supernet for these images
    subnets-fit-SEED.csv    random networks of it and their top-1 (`train.runs.subnets`)
    accuracy.json           the table fitted to them, written last: the run is complete when it is there

Every file but the log is written whole or not at all: a run killed at any moment goes on from its last epoch,
or its last networks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ponas_deploy.errors import PonasError, WeightsError
from ponas_deploy.files.class_names import listed
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.files.records import sha256
from ponas_deploy.files.weights import WeightsFile, read_weights, write_weights
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.architectures import agreed
from ponas_deploy.tables.files import load_accuracy_table
from searchspace import Space, build_space
from searchspace.elastic import ELASTIC
from searchspace.spaces.ofa import STEP_PX
from train.compute import Compute, distributed
from train.data import Splits, as_divided, load, same_source
from train.files import TRANSFER_RUN, RunLog, RunPaths, claim, lock
from train.networks import ElasticNetwork, describe, to_arrays
from train.progress import OnProgress, TrainingProgress, both, silent
from train.runs.enough import refuse_few, refuse_small, too_small
from train.runs.images import style_of
from train.runs.subnets import FitTable, Run, SubnetsWanted, evaluated_subnets
from train.settings import TransferSettings
from train.stages import classifier_names, new_classifier, train_transfer


@dataclass(frozen=True, slots=True)
class TransferJob:
    """A supernet (`source`) and the images that it is to be fitted to; `space` is that of these images."""

    space: Space
    splits: Splits
    source: WeightsFile
    settings: TransferSettings
    seed: int

    def identity(self) -> dict[str, Any]:
        """Everything that decides what comes out."""
        splits = self.splits
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        return {
            "data": splits.name,
            "space": self.space.name,
            "fingerprint": self.space.fingerprint,
            "resolution": self.space.resolution,
            "classes": self.space.classes,
            "images": {name: len(part.labels) for name, part in parts.items()},
            "seed": self.seed,
            "weights_sha256": sha256(self.source.stored),
            **asdict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class TransferResult:
    """What a run leaves behind: the table, and where the files are."""

    table: AccuracyTable
    table_path: Path
    weights: Path
    evaluated: Path
    class_names: tuple[str, ...]


def open_transfer(
    file: WeightsFile,
    data: str,
    *,
    space: str | None = None,
    resolution: int | None = None,
    settings: TransferSettings,
    seed: int = 0,
    enlarge: bool = False,
    on_progress: OnProgress = silent,
) -> TransferJob:
    """Read the images and see whether the supernet can be fitted to them; nothing is written.

    Images that are smaller than the resolution are enlarged; with `enlarge` even where most are.

    Raises WeightsError for a file that is no supernet with shared weights, or of another space or version,
    SpaceError for a resolution that the space is not made for, PonasError for images that are too few or
    too small, or that the supernet was trained on with another part of them held out.
    """
    if distributed.launched():
        raise PonasError("a transfer trains in one process: start it without torchrun.")
    known = _space(file, space, resolution)
    data = _held_out_alike(file, data, seed)
    splits = load(data, resolution=known.resolution, seed=seed, on_progress=on_progress, **style_of((file,)))
    refuse_few(splits)
    if not enlarge:
        refuse_small(splits, STEP_PX)
    for text in (too_small(splits), _replaced(file, splits)):
        if text:
            on_progress(TrainingProgress("data", 1, 1, text, note=True))
    return TransferJob(
        build_space(known.name, splits.resolution, splits.classes), splits, file, settings, seed
    )


def transfer_run(
    job: TransferJob,
    folder: Path,
    wanted: SubnetsWanted,
    fit: FitTable,
    *,
    device: str = "auto",
    on_progress: OnProgress = silent,
    on_note: OnNote = no_note,
) -> TransferResult:
    """Fit a supernet to images, evaluate networks of it as `wanted`, and write the table that `fit` makes.

    A folder with an unfinished run of the same job goes on, a finished one is read. Raises RunMismatchError
    (the folder holds another run), TrainingError, OutOfMemoryError, PonasError (another process trains in the
    folder); the last finished epoch and all evaluated networks are kept.
    """
    paths, compute = RunPaths(folder), Compute.on(device)
    with lock.held(folder):
        results = (paths.table, paths.weights)
        told: dict[str, Any] = {"weights": str(job.source.path)}
        how = {"networks": wanted.networks, "time": wanted.seconds, "device": device}
        if not paths.table.exists():
            told |= how
        claim(folder, TRANSFER_RUN, job.identity(), results, free=tuple(how), told=told)
        paths.sweep()
        if not paths.table.exists():
            with RunLog(paths.log) as log, compute.seeded(job.seed):
                _run(job, paths, wanted, fit, compute, both(log, on_progress), on_note)
    table = load_accuracy_table(paths.table)
    return TransferResult(
        table, paths.table, paths.weights, wanted.beside(paths.weights), job.splits.class_names
    )


def _run(
    job: TransferJob,
    paths: RunPaths,
    wanted: SubnetsWanted,
    fit: FitTable,
    compute: Compute,
    on_progress: OnProgress,
    on_note: OnNote,
) -> None:
    if not paths.weights.exists():
        network = compute.place(_inherited(job))
        train_transfer(
            network,
            job.splits,
            job.settings,
            seed=job.seed,
            compute=compute,
            states=paths.transfer_states,
            on_progress=on_progress,
        )
        write_weights(paths.weights, network.arrays(), describe(ELASTIC, job.space, job.splits, job.seed))
    for state in paths.transfer_states.values():
        state.unlink(missing_ok=True)
    run = Run(read_weights(paths.weights), job.space, job.splits)
    found = evaluated_subnets(run, wanted, on_progress, on_note)
    write_accuracy_table(fit(run, found), paths.table)


def _inherited(job: TransferJob) -> ElasticNetwork:
    """The supernet with a new classifier for the images' classes."""
    network = ElasticNetwork(job.space)
    new_classifier(network, job.seed)
    own = network.state_dict()
    fresh = to_arrays({name: own[name] for name in classifier_names(network)})
    try:
        network.load({**job.source.shared, **fresh})
    except WeightsError as error:
        raise WeightsError(f"{job.source.path}: {error}") from error
    return network


def _space(file: WeightsFile, asked: str | None, resolution: int | None) -> Space:
    """The space of a supernet with shared weights, at the resolution that is asked for or the file's."""
    if not file.supernet:
        raise WeightsError(
            f"{file.path} holds one network, and a transfer needs all of them: name a supernet's weights"
            f" (`ponas weights --space ofa-mbv3`), or train this one network: `ponas train specialized`."
        )
    if not file.elastic:
        raise WeightsError(
            f"{file.path} is a supernet of space '{file.metadata.get('space')}', whose candidates do not"
            " share their weights: a transfer needs one of Once-for-all's (`ponas weights --space ofa-mbv3`)."
        )
    name = agreed("space", asked, file.metadata.get("space")) or ""
    known = build_space(name, resolution or file.number("resolution") or 224)
    if file.metadata.get("fingerprint", known.fingerprint) != known.fingerprint:
        raise WeightsError(f"{file.path} belongs to another version of space '{name}': train again.")
    return known


def _held_out_alike(file: WeightsFile, data: str, seed: int) -> str:
    """The images with the options that divided them before, where the supernet was trained on them."""
    before, cut = file.metadata.get("data", ""), file.number("seed")
    if not before or not same_source(data, before):
        return data
    if cut not in (None, seed):
        raise PonasError(
            f"{file.path} was trained on {before}, divided by seed {cut}: with seed {seed} images that it was"
            f" trained on would be held out. Ask for --seed {cut}."
        )
    return as_divided(data, before)


def _replaced(file: WeightsFile, splits: Splits) -> str:
    before = file.number("classes")
    names = listed(splits.class_names) if splits.class_names else f"{splits.classes}"
    return (
        f"the classifier of {file.path.name}, for {before or 'other'} classes, is replaced by a new one for"
        f" {names}"
    )
