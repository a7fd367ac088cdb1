"""Images in files: decoded by worker processes when a batch asks for them, the broken ones left out.

Which files are broken is found before anything is trained, because labels and batches must be of the
same images from the first to the last; the answer is kept, so that the next run does not look again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ponas_deploy.errors import FileFormatError, PonasError
from ponas_deploy.files.documents import Format, read_document, write_document
from ponas_deploy.files.images import decoded, reason, size_px
from ponas_deploy.files.normalisation import BGR_BYTES, IMAGENET, Normalisation
from train.compute import WHOLE, Share, derive, threads
from train.data.layout import Part
from train.data.splits import Batch
from train.progress import OnProgress, TrainingProgress


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """What is known of the images below `root`: those that cannot be read, each with the reason.

    Names are %-escaped bytes, so that they mean the same file in every locale.
    """

    root: str
    broken: dict[str, str]


CHECK = Format("ponas.image-check", 1, ImageCheck)
_DECODER = b"2\n"  # another number where other files can be read, or names are kept otherwise
_AT_ONCE = 512  # images looked at between two reports
_REPORTED = 10  # broken images reported one by one
_SIZED = 1000  # images whose size is looked at

View = Callable[[Any], Tensor]
"""A PIL image in RGB -> what the network reads, (3, resolution, resolution) float32."""


@dataclass(frozen=True, slots=True)
class Views:
    """How images reach the network: `plain` for evaluation, `augmented` (random) for training."""

    plain: View
    augmented: View


@dataclass(frozen=True, slots=True)
class Style:
    """How a network's authors prepare images: see `resized_px`, and `views` for the ranges of the jitter."""

    ratio: float | None = None
    brightness: float = 0.0
    saturation: float = 0.0
    normalisation: Normalisation = IMAGENET

    @property
    def jitters(self) -> bool:
        """Whether colours are changed at random in training."""
        return bool(self.brightness or self.saturation)


USUAL = "imagenet"
STYLES = {
    USUAL: Style(),
    "ofa": Style(0.875, 32 / 255, 0.5),
    "spos-authors": Style(normalisation=BGR_BYTES),
}
"""By name; ImageNet's mean and deviation, "ofa" as github.com/mit-han-lab/once-for-all @f03b267 does it,
"spos-authors" as github.com/megvii-model/SinglePathOneShot."""


def resized_px(resolution: int, ratio: float | None = None) -> int:
    """The shorter side that the centre of an image is cut from: 8/7 of the resolution, 256 for 224 px.

    With a `ratio` of the centre to that side, rounded up, as Once-for-all's authors do it.
    """
    return ceil(resolution / ratio) if ratio else round(resolution * 8 / 7)


def views(resolution: int, style: Style = STYLES[USUAL]) -> Views:
    """ImageNet's usual views: a random crop and flip to train on, the centre of 8/7 the size to evaluate.

    The crop covers 8 to 100 % of the image at ratios of 3/4 to 4/3 (arXiv 1409.4842, section 6). A `style`
    may have another size, and random brightness and saturation to train on.
    """
    order = (_blue_first,) if style.normalisation.channel_order == "BGR" else ()
    normal = v2.Normalize(list(style.normalisation.mean), list(style.normalisation.std))
    numbers = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True), *order, normal)
    centre = (v2.Resize(resized_px(resolution, style.ratio)), v2.CenterCrop(resolution))
    jitter = v2.ColorJitter(brightness=style.brightness, saturation=style.saturation)
    colours = (jitter,) if style.jitters else ()
    random = (v2.RandomResizedCrop(resolution), v2.RandomHorizontalFlip(), *colours)
    return Views(v2.Compose([*centre, *numbers]), v2.Compose([*random, *numbers]))


def _blue_first(image: Tensor) -> Tensor:
    """(3, H, W) in RGB -> the same in BGR."""
    return image.flip(-3)


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: `workers` processes decode (1: this one), `cache` keeps what is known of them."""

    views: Views
    workers: int
    cache: Path
    on_progress: OnProgress


@dataclass(frozen=True, slots=True)
class SmallImages:
    """`count` of the `looked_at` images are smaller than asked, the smallest with a side of `smallest_px`."""

    count: int
    looked_at: int
    smallest_px: int


@dataclass(frozen=True, eq=False)
class FileImages:
    """Some images of a part, at `indices` (N,) int64 of its files. See `train.data.splits.Images`."""

    part: Part
    indices: NDArray[np.int64]
    reading: Reading

    @property
    def labels(self) -> Tensor:
        """The class of every image that can be read, (N,) int64."""
        return self._readable[1]

    @property
    def skipped(self) -> tuple[tuple[Path, str], ...]:
        """The images that cannot be read, each with the reason."""
        return self._readable[2]

    def smaller_than(self, side_px: int) -> SmallImages:
        """How many of the images have a side below `side_px`, from the headers of some of them."""
        files, _, _ = self._readable
        every = max(ceil(len(files) / _SIZED), 1)
        sides = [min(size_px(self.part.root / os.fsdecode(bytes(file)))) for file in files[::every]]
        small = [side for side in sides if side < side_px]
        return SmallImages(len(small), len(sides), min(small, default=side_px))

    def batches(
        self, size: int, order: Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        """See `Images.batches`; the same batches by any number of workers.

        PonasError names an image that could be read before and no longer can.
        """
        files, labels, _ = self._readable
        chosen = torch.arange(len(labels)) if order is None else order.cpu()
        wanted = [share.of(batch) for batch in torch.split(chosen, size)] if len(chosen) else []
        items = [[(index, augment) for index in batch.tolist()] for batch in wanted]
        for batch, images in zip(wanted, self._loader(files, items), strict=True):
            if isinstance(images, str):
                raise PonasError(f"{images}: it could be read before.")
            yield images, labels[batch]

    def _loader(self, files: NDArray[np.bytes_], items: list[list[tuple[int, int | None]]]) -> _Loader:
        workers = min(self.reading.workers, len(items))
        return DataLoader(
            _Decoding(self.part.root, files, self.reading.views),
            batch_sampler=items,
            num_workers=workers if workers > 1 else 0,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: torch's would give the caller other numbers
        )

    @cached_property
    def _readable(self) -> tuple[NDArray[np.bytes_], Tensor, tuple[tuple[Path, str], ...]]:
        """Files and labels of the images that can be read, and the others with the reason."""
        part, indices = self.part, self.indices.tolist()
        files = [part.files[index] for index in indices]
        broken = _broken(part.root, files, self.reading)
        kept = [place for place, file in enumerate(files) if file not in broken]
        labels = torch.tensor([part.labels[indices[place]] for place in kept], dtype=torch.int64)
        # Bytes in one block: a list of a million strings is copied by every worker that counts its use.
        names = np.array([os.fsencode(files[place]) for place in kept], dtype=np.bytes_)
        skipped = tuple((part.root / file, reason) for file, reason in broken.items())
        self._refuse_lost_classes(files, broken)
        return names, labels, skipped

    def _refuse_lost_classes(self, files: list[str], broken: dict[str, str]) -> None:
        """PonasError where no image of a class can be read."""
        there = {self.part.labels[index] for index in self.indices.tolist()}
        left = {
            self.part.labels[index]
            for index, file in zip(self.indices.tolist(), files, strict=True)
            if file not in broken
        }
        if there - left:
            name = self.part.classes[min(there - left)]
            file, reason = next((f, r) for f, r in broken.items() if f.split(os.sep)[0] == name)
            raise PonasError(
                f"no image of class '{name}' in {self.part.root} can be read, {file} for one ({reason}):"
                f" replace them, or remove the class."
            )


_Loader = DataLoader[Tensor | str]


@dataclass(frozen=True, slots=True)
class _Decoding(Dataset[Tensor | str]):
    """Images by (index, seed of the augmentation); an image that cannot be read is a text that says so."""

    root: Path
    files: NDArray[np.bytes_]
    views: Views

    def __getitem__(self, item: tuple[int, int | None]) -> Tensor | str:
        index, augment = item
        path = self.root / os.fsdecode(bytes(self.files[index]))
        with threads(1):  # one image is too little work for threads that would wait for each other
            try:
                image = decoded(path)
            except Exception as error:
                return f"{path} cannot be read ({reason(error)})"
            if augment is None:
                return self.views.plain(image)
            with _drawing(derive(augment, "image", index)):
                return self.views.augmented(image)


def _collate(images: list[Tensor | str]) -> Tensor | str:
    """Images (3, H, W) -> (N, 3, H, W), or the first that is a text."""
    for image in images:
        if isinstance(image, str):
            return image
    return torch.stack([image for image in images if isinstance(image, Tensor)])


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """torchvision draws from torch's own generator: from `seed` here, and as before afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _broken(root: Path, files: list[str], reading: Reading) -> dict[str, str]:
    """The files that cannot be read, each with the reason; looked at once, then known."""
    cache = reading.cache / "images" / f"{_digest(root, files)}.json"
    try:
        broken = {_name(kept): why for kept, why in read_document(cache, CHECK).broken.items()}
    except FileFormatError:  # not looked at before, or the answer is damaged
        broken = _looked_at(root, files, reading)
        check = ImageCheck(_kept(str(root)), {_kept(file): _kept_text(why) for file, why in broken.items()})
        with suppress(PonasError, UnicodeError):  # nowhere to keep it: the next run looks again
            write_document(cache, CHECK, check, overwrite=True)
    _report_skipped(root, broken, len(files), reading.on_progress)
    return broken


def _kept(name: str) -> str:
    """A file name as the cache holds it: its bytes, the same in every locale, %-escaped where not ASCII."""
    return quote(os.fsencode(name), safe="/ ")


def _name(kept: str) -> str:
    return os.fsdecode(unquote_to_bytes(kept))


def _kept_text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _report_skipped(root: Path, broken: dict[str, str], files: int, on_progress: OnProgress) -> None:
    left = len(broken) - _REPORTED
    for number, (file, why) in enumerate(islice(broken.items(), _REPORTED), start=1):
        more = f", and {left} more" if number == _REPORTED and left > 0 else ""
        text = f"skipped {root / file}: {why}{more}"
        on_progress(TrainingProgress("data", files, files, text, note=True))


def _looked_at(root: Path, files: list[str], reading: Reading) -> dict[str, str]:
    broken: dict[str, str] = {}
    with ThreadPoolExecutor(reading.workers) as pool:
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            reasons = pool.map(lambda file: _fault(root / file), some)
            broken |= {file: why for file, why in zip(some, reasons, strict=True) if why}
            text = f"checking images: {start + len(some):,} of {len(files):,}"
            reading.on_progress(TrainingProgress("data", start + len(some), len(files), text))
    return broken


def _digest(root: Path, files: list[str]) -> str:
    """Changes when a file is added, replaced or removed."""
    digest = hashlib.sha256(_DECODER + os.fsencode(root))
    for file in files:
        with suppress(OSError):
            found = (root / file).stat()
            digest.update(os.fsencode(f"\n{file} {found.st_size} {found.st_mtime_ns}"))
    return digest.hexdigest()[:24]


def _fault(path: Path) -> str:
    """Why an image cannot be read, empty where it can."""
    try:
        decoded(path)
    except Exception as error:
        return reason(error)
    return ""
