"""The weights a network shall carry: random ones, or a file's, made fit for each network by `train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from ponas_deploy.errors import MissingExtraError, PonasError, WeightsError
from ponas_deploy.files.notes import OnNote, OpenBar, no_bar, no_note
from ponas_deploy.tables.architectures import agreed, usual_resolution

if TYPE_CHECKING:
    from ponas_deploy.engines.loop import WeightsSource
    from ponas_deploy.files.weights import WeightsFile
    from searchspace.architecture import Architecture
    from searchspace.space import Space

_RESOLUTION, _CLASSES = 224, 1000
NOT_RECALIBRATED = (
    "batch norm was not recalibrated: the predicted accuracy does not hold. Name training images with --data."
)
"""Of a supernet's weights without images: the statistics in its file are those of no network alone."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Weights and what they are for; None is what they do not fix. `source` takes a resolution in pixels.

    Where `images_of_one`, INT8 scales come from images in a file, which are of one resolution. `file` is that
    of the weights, empty for random ones.
    """

    source: Callable[[int], WeightsSource]
    space_name: str | None = None
    resolution: int | None = None
    classes: int | None = None
    images_of_one: bool = False
    file: str = ""

    def space(self, name: str, resolution: int | None, classes: int | None) -> Space:
        """The space of that name that they are used in; PonasError when they are for another."""
        from searchspace import build_space
        from searchspace.mixed import is_mixed, mixed, plain_name

        chosen = agreed("space", plain_name(name), self.space_name) or name
        built = build_space(
            chosen,
            agreed("resolution", resolution, self.resolution) or usual_resolution(chosen),
            agreed("classes", classes, self.classes) or _CLASSES,
        )
        return mixed(built) if is_mixed(name) else built


def one_at_a_time(carried: Carried) -> Carried:
    """Weights that several threads ask for: whatever makes them or reads images is done for one at a time."""
    lock = RLock()

    def locked(work: Callable[..., Any]) -> Callable[..., Any]:
        def alone(*given: Any) -> Any:
            with lock:
                return work(*given)

        return alone

    def source(resolution: int) -> WeightsSource:
        found: WeightsSource = locked(carried.source)(resolution)
        return replace(
            found,
            tensors=locked(found.tensors),
            finish=found.finish and locked(found.finish),
            validate=found.validate and locked(found.validate),
            images=found.images and locked(found.images),
            validation=found.validation
            and replace(found.validation, weights=locked(found.validation.weights)),
        )

    return replace(carried, source=source)


def open_weights(
    path: Path | None,
    data: str | None,
    finetune: int,
    seed: int,
    calibration: Path | None = None,
    on_note: OnNote = no_note,
    bar: OpenBar = no_bar,
) -> Carried:
    """Random weights without a file, else the file's.

    A supernet's weights are inherited and their batch norm is recalibrated on the training images of
    `data` (the data set the file names, where it is None), which needs the extra `train`. A network's
    own weights are carried as they are, and without that extra their accuracy is not measured; those of
    Once-for-all's supernet without `data` are too, which the source's warnings say. INT8 scales
    come from the images of `calibration`, a .npy file or a folder, else from training images.
    """
    from ponas_deploy.engines.loop import random_source
    from ponas_deploy.engines.weights_files import read_file

    scaled, of_one = _scaled_by(calibration), calibration is not None and not calibration.is_dir()
    if path is None:
        if finetune:
            raise PonasError("--finetune needs --weights: random weights are not worth fine-tuning.")
        if data:
            raise PonasError(
                "--data needs --weights: random weights have no answers. INT8 scales: --calibration."
            )
        return Carried(lambda resolution: scaled(random_source(seed), resolution), images_of_one=of_one)
    file = read_file(path, on_note)
    data = data or file.metadata.get("data")
    named = (file.metadata.get("space"), file.number("resolution"), file.number("classes"))
    network = _network(file)

    def source(resolution: int) -> WeightsSource:
        found = _source(file, data, finetune, seed, on_note, resolution, bar)
        return replace(scaled(found, resolution), file=str(path), network=network)

    return Carried(source, *named, images_of_one=of_one, file=str(path))


def _network(file: WeightsFile) -> str | None:
    """What people call the one network that a file's weights are of; None where they are a supernet's.

    Empty for a network that is not known. WeightsError for a supernet that lacks a candidate.
    """
    from searchspace.spaces import build_space, is_known
    from searchspace.weights import is_supernet, network_of

    name = file.metadata.get("space", "")
    if not is_known(name):
        return None if file.supernet else ""
    space = build_space(name, file.number("resolution") or _RESOLUTION, file.number("classes") or _CLASSES)
    if file.supernet or is_supernet(file.tensors, space):
        _refuse_partial(file, space)
        return None
    found = network_of(file.tensors, space)
    return found.name if found else ""


def _refuse_partial(file: WeightsFile, space: Space) -> None:
    """WeightsError where a supernet does not hold every candidate of a space in its shape."""
    import numpy as np

    from searchspace.architecture import Architecture

    groups = space.groups
    for place in range(max(groups.sizes)):
        picked = np.minimum(place, np.array(groups.sizes, dtype=np.intp) - 1)
        file.inherited(Architecture.from_indices(space, groups.choices(picked).tolist()))


Scaled: TypeAlias = Callable[["WeightsSource", int], "WeightsSource"]


def _scaled_by(calibration: Path | None) -> Scaled:
    """Gives weights INT8 scales from the images of a file or a folder, at a resolution in pixels.

    A file is read, and refused where scales cannot come from it, at once; the images of a folder are prepared
    as the weights want them.
    """
    if calibration is None:
        return lambda source, resolution: source
    if calibration.is_dir():
        return partial(_scaled_by_folder, calibration)
    from ponas_deploy.backends.onnx_calibration import Calibration, read_images

    images = read_images(calibration)
    Calibration(images)
    place = calibration.absolute()
    return lambda source, resolution: replace(source, images=lambda: images, images_from=place)


def _scaled_by_folder(folder: Path, source: WeightsSource, resolution: int) -> WeightsSource:
    from ponas_deploy.engines.calibration import images_of_folder

    images = images_of_folder(folder, source.preprocessing, resolution, source.description)
    return replace(source, images=lambda: images, images_from=folder.absolute())


def refuse_for_search(source: WeightsSource) -> None:
    """WeightsError where weights are those of one network: a search may choose any."""
    if source.network is None:
        return
    if not source.network:
        raise WeightsError(
            f"{source.file}: these are not the weights of a supernet, which a search needs: name the"
            " weights.safetensors of a run of `ponas train`."
        )
    raise WeightsError(
        f"{source.file}: these are the weights of one network ({source.network}), a search needs a"
        f" supernet's: `ponas export {source.network} --weights {source.file}` builds it."
    )


def refuse_other_network(source: WeightsSource, architecture: Architecture) -> None:
    """WeightsError where weights are those of another network than the one that is to be built."""
    from searchspace.mixed import plain_network

    if source.network in (None, "", plain_network(architecture).name):
        return
    raise WeightsError(
        f"{source.file} holds the weights of {source.network}, and {architecture.name} was asked for: export"
        " the former, or name weights of the latter or of a supernet."
    )


def _source(
    file: WeightsFile,
    data: str | None,
    finetune: int,
    seed: int,
    on_note: OnNote,
    resolution: int,
    bar: OpenBar,
) -> WeightsSource:
    from ponas_deploy.engines.loop import WeightsSource
    from ponas_deploy.engines.preprocessing import preprocessing_of
    from ponas_deploy.engines.weights_files import has_torch

    as_they_are = not file.supernet and not finetune
    stored_statistics = file.elastic and data is None and not finetune
    if stored_statistics or (as_they_are and (data is None or not has_torch())):
        how = "inherited as they are" if stored_statistics else "as they are"
        return WeightsSource(
            f"{file.path.name}, {how}",
            file.inherited,
            preprocessing=preprocessing_of(file, resolution),
            class_names=file.class_names,
            warnings=(NOT_RECALIBRATED,) if stored_statistics else (),
            batch_norm="not recalibrated" if stored_statistics else "",
        )
    if data is None:
        raise PonasError(f"{file.path} does not name its data set: name it with --data.")
    if not has_torch():
        raise MissingExtraError("torch, which inheriting weights needs,", "train")
    from ponas_deploy.engines.inherited import inherited

    return inherited(file, data, finetune, seed, as_they_are, on_note, resolution, bar)
