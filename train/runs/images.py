"""The images of a run or of weights, and the network that fits both them and a weights file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ponas_deploy.errors import PonasError, WeightsError
from ponas_deploy.files.weights import WeightsFile
from ponas_deploy.tables.architectures import agreed, named_by, read_architecture
from searchspace.architecture import Architecture
from searchspace.mixed import is_mixed, mixed_name, plain_network
from searchspace.weights import network_of

if TYPE_CHECKING:
    from train.data import Splits
    from train.progress import OnProgress, TrainingProgress


def load_images(
    files: Sequence[WeightsFile],
    *,
    data: str | None,
    resolution: int | None,
    seed: int,
    on_progress: OnProgress,
    workers: int = 0,
    otherwise_px: int | None = None,
    otherwise_names: tuple[str, ...] = (),
) -> Splits:
    """The images named, or those that the weights were trained on, cut as their training cut them.

    Their classes are numbered as the weights number them, by name. For Once-for-all's weights they are
    prepared as its authors do it. `otherwise_px` is the resolution where neither the command line nor a file
    says one, `otherwise_names` the classes where no file names any.
    PonasError when the files are for other images or classes than these, or were trained on another cut than
    each other or than `data` asks for.
    """
    from train.data import as_divided, load
    from train.networks import refuse_other_images
    from train.progress import TrainingProgress
    from train.runs.enough import too_small

    cuts = {file.path: cut for file in files if (cut := file.number("seed")) is not None}
    if len(set(cuts.values())) > 1:
        each = ", ".join(f"{path} with {cut}" for path, cut in cuts.items())
        raise PonasError(
            f"the images were cut into training and test by other seeds ({each}): one file has seen the"
            f" other's test images; name files of one run."
        )
    named = data_of(files, data)
    for file in files:
        resolution = agreed("resolution", resolution, file.number("resolution"))
        named = as_divided(named, file.metadata.get("data", named))
    splits = load(
        named,
        resolution=resolution or otherwise_px,
        seed=next(iter(cuts.values()), seed),
        workers=workers,
        on_progress=on_progress,
        **style_of(files),
    )
    names = next(filter(None, (file.class_names for file in files)), otherwise_names)
    if sorted(names) == sorted(splits.class_names):
        splits = splits.in_order(names)
    for file in files:
        refuse_other_images(file, splits)
    if all(file.number("resolution") is None for file in files) and (small := too_small(splits)):
        on_progress(TrainingProgress("data", 1, 1, small, note=True))
    if files and not names and splits.class_names and splits.name != files[0].metadata.get("data"):
        on_progress(_unnamed(files[0], splits))
    return splits


def style_of(files: Sequence[WeightsFile]) -> dict[str, Any]:
    """The option of a data set that prepares its images as those were that the weights were trained on."""
    for file in files:
        if style := file.metadata.get("style", "ofa" if "resize_ratio" in file.metadata else ""):
            return {"style": style}
    return {}


def _unnamed(file: WeightsFile, splits: Splits) -> TrainingProgress:
    from ponas_deploy.files.class_names import listed
    from train.progress import TrainingProgress

    text = (
        f"{file.path} does not name its classes: those of {splits.name} are taken in the order of their"
        f" names ({listed(splits.class_names)})"
    )
    return TrainingProgress("data", 0, 1, text, note=True)


def data_of(files: Sequence[WeightsFile], data: str | None) -> str:
    """The images named, or those that the weights were trained on; PonasError where nobody says."""
    named = data or next((name for file in files if (name := file.metadata.get("data"))), None)
    if named is None:
        silent = f"{files[0].path} does not say what it was trained on: " if files else ""
        raise PonasError(f"{silent}name the images with --data.")
    return named


def fitting(arch: str, space: str | None, file: WeightsFile | None, splits: Splits) -> Architecture:
    """The network that was asked for, whose layers in INT8 count as in full precision here.

    WeightsError when the file is another's or another space's.
    """
    name = agreed("space", space, file.metadata.get("space")) if file else space
    if name and is_mixed(named_by(arch).space):
        name = mixed_name(name)
    architecture = plain_network(read_architecture(arch, name, splits.resolution, splits.classes))
    if file is None:
        return architecture
    known, path = architecture.space, file.path
    if file.metadata.get("fingerprint", known.fingerprint) != known.fingerprint:
        raise WeightsError(f"{path} belongs to another version of space '{known.name}': train again.")
    owner = _owner(file, architecture)
    if not file.supernet and owner != architecture.text:
        name = Architecture.from_text(known, owner).name
        raise WeightsError(
            f"{path} is another network's, {name}: name that network or its own weights"
            f" ({architecture.name} was asked for)."
        )
    return architecture


def _owner(file: WeightsFile, architecture: Architecture) -> str:
    """The network that a file is of, by its header or its tensors: `architecture` where those fit.

    WeightsError where the tensors are of no network of the space.
    """
    if choices := file.metadata.get("choices"):
        return choices
    try:
        file.inherited(architecture)
    except WeightsError:
        other = network_of(file.tensors, architecture.space)
        if other is None:
            raise
        return other.text
    return architecture.text
