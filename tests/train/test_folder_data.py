"""A folder of images: its layouts, the split, decoding by workers, broken images, and what is refused."""
# ruff: noqa: E402

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("torchvision", reason="needs the train extra (torchvision)")
from PIL import Image
from tiny_training import FINE_TUNE, META, one_thread
from tiny_training import space as tiny_space

import searchspace.spaces.registry
from photos import COLOURS, fill, picture
from ponas_deploy.errors import PonasError, UnknownNameError
from ponas_deploy.files.weights import read_weights
from train.data import Splits, load
from train.data.file_images import FileImages
from train.progress import TrainingProgress
from train.runs import train_run
from train.settings import TrainSettings

# Workers are forked where Python's default is to fork, as in every program that uses torch's loader.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more than there are cores
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PONAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """ImageNet's layout: 20 training images a class, 4 to test with."""
    folder = tmp_path / "imagenet"
    fill(folder / "train", 20)
    fill(folder / "val", 4)
    return folder


def loaded(folder: Path, **options: object) -> Splits:
    return load(str(folder), **{"resolution": 24, "workers": 1, **options})  # type: ignore[arg-type]


def files(images: object) -> set[str]:
    assert isinstance(images, FileImages)
    return {str(images.part.root / images.part.files[index]) for index in images.indices}


def all_of(images: object, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    found = list(images.batches(7, **options))  # type: ignore[attr-defined]
    return torch.cat([batch for batch, _ in found]), torch.cat([labels for _, labels in found])


def test_imagenets_layout_holds_images_out_of_training_and_keeps_the_validation_set(imagenet: Path) -> None:
    splits = loaded(imagenet, validation=3)
    assert (splits.name, splits.classes, splits.resolution) == (f"{imagenet}:validation=3", 3, 24)
    train, held, test = (files(part) for part in (splits.train, splits.validation, splits.test))
    assert (len(train), len(held), len(test)) == (51, 9, 12)
    assert train | held == {str(path) for path in (imagenet / "train").rglob("*.jpg")}
    assert test == {str(path) for path in (imagenet / "val").rglob("*.jpg")}
    assert torch.bincount(splits.validation.labels).tolist() == [3, 3, 3]
    assert torch.bincount(splits.test.labels).tolist() == [4, 4, 4]


def test_fifty_a_class_are_held_out_and_a_fifth_of_a_small_class_and_it_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "train", 10, ("cat", "dog"))
    for number in range(251):
        path = tmp_path / "train" / "eel" / f"{number}.ppm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"P6 1 1 255\n" + bytes(3))
    fill(tmp_path / "test", 1)
    reports: list[TrainingProgress] = []
    splits = loaded(tmp_path, on_progress=reports.append)
    assert torch.bincount(splits.validation.labels).tolist() == [2, 2, 50]
    assert reports[0].text == "3 classes (cat, dog, eel); 271 train images, 3 test images"
    assert reports[0].note, "by which commands know a line to print"
    assert reports[1].text == (
        "held out for validation: fewer than 50 images of 2 classes 'cat', 'dog', one in 5 instead"
    )


def test_the_split_is_fixed_by_the_seed(imagenet: Path) -> None:
    first, again, other = (files(loaded(imagenet, seed=seed).validation) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_folder_without_parts_is_divided_into_three(tmp_path: Path) -> None:
    fill(tmp_path / "photos", 15, ending="png")
    splits = loaded(tmp_path / "photos")
    parts = [files(part) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [30, 6, 9]
    assert len(set.union(*parts)) == 45


def test_three_parts_are_taken_as_they_are_and_unlabelled_test_images_are_none(imagenet: Path) -> None:
    picture(imagenet / "test" / "1.jpg", COLOURS["cat"], 1)
    assert len(loaded(imagenet, validation=3).test.labels) == 12
    shutil.rmtree(imagenet / "test")
    fill(imagenet / "test", 2)
    splits = loaded(imagenet)
    assert [len(part.labels) for part in (splits.train, splits.validation, splits.test)] == [60, 12, 6]


def test_without_training_images_there_is_a_test_and_nothing_else(imagenet: Path) -> None:
    shutil.rmtree(imagenet / "train")
    splits = loaded(imagenet)
    assert len(splits.test.labels) == 12
    for part in (splits.train, splits.validation):
        with pytest.raises(PonasError, match=r"has no images for (train|validation): add some as .*/train/"):
            _ = part.labels
        with pytest.raises(PonasError, match="has no images for"):
            part.batches(4)


def test_classes_are_numbered_in_the_order_of_their_names_however_deep_their_images(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    picture(tmp_path / "cat" / "indoors" / "at night" / "004.JPEG", COLOURS["cat"], 4)
    picture(tmp_path / "cat" / ".hidden.jpg", COLOURS["cat"], 5)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    splits = loaded(tmp_path)
    assert splits.classes == 3
    count = sum(torch.bincount(p.labels, minlength=3) for p in (splits.train, splits.validation, splits.test))
    assert count.tolist() == [5, 4, 4]


def test_images_arrive_normalised_with_the_centre_of_each(tmp_path: Path) -> None:
    for name, grey in (("black", 0), ("white", 255)):
        for number in range(3):
            image = np.full((60, 90, 3), 128, np.uint8)
            image[15:45, 30:60] = grey
            path = tmp_path / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path)
    images, labels = all_of(loaded(tmp_path, resolution=28).test)
    assert images.shape == (2, 3, 28, 28)
    assert images.dtype == torch.float32
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(images[:, :, 14, 14], torch.stack([-mean / std, (1 - mean) / std]), atol=1e-5)
    # Resized to 32 on the shorter side: the square of 30 in 60 pixels covers 16 of the 28 in the middle.
    dark = (images[0, 0] - images[0, 0, 14, 14]).abs() < 1e-3
    assert labels.tolist() == [0, 1]
    assert 13 <= int(dark[14].sum()) <= 16


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    fill(tmp_path, 3, ("cat", "dog"))
    for path in (tmp_path / "cat").iterdir():
        path.unlink()
    for number in range(3):
        picture(tmp_path / "cat" / f"{number}.png", COLOURS["cat"], number, mode)
    images, _ = all_of(loaded(tmp_path).train)
    assert images.shape == (2, 3, 24, 24)


def test_any_number_of_workers_gives_the_same_batches_and_leaves_the_callers_numbers(imagenet: Path) -> None:
    order = torch.randperm(51, generator=torch.Generator().manual_seed(1))[:30]
    torch.manual_seed(5)
    expected = torch.rand(3)
    found = []
    for workers in (1, 2, 3):
        torch.manual_seed(5)
        splits = loaded(imagenet, workers=workers, validation=3)
        found.append(all_of(splits.train, order=order, augment=9))
        assert torch.equal(torch.rand(3), expected)
    for images, labels in found:
        assert torch.equal(images, found[0][0])
        assert torch.equal(labels, splits.train.labels[order])


def test_an_augmentation_is_fixed_by_its_seed_and_differs_from_image_to_image(imagenet: Path) -> None:
    train = loaded(imagenet).train
    first, again, other, plain = (all_of(train, augment=seed)[0] for seed in (1, 1, 2, None))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain)
    turned = all_of(train, augment=1, order=torch.arange(len(train.labels)).flip(0))[0]
    assert torch.equal(turned.flip(0), first)


def test_an_empty_order_has_no_batches(imagenet: Path) -> None:
    assert list(loaded(imagenet).train.batches(4, order=torch.arange(0))) == []


def broken_images(folder: Path) -> set[Path]:
    """A truncated JPEG, a text, and an empty file among the training images."""
    truncated, text, empty = (folder / "train" / name / "007.jpg" for name in COLOURS)
    truncated.write_bytes(truncated.read_bytes()[:-200])
    text.write_text("<html>404</html>")
    empty.write_bytes(b"")
    return {truncated, text, empty}


def test_broken_images_are_named_and_left_out_of_labels_and_batches(imagenet: Path) -> None:
    broken = broken_images(imagenet)
    reports: list[str] = []
    splits = loaded(imagenet, validation=3, on_progress=lambda progress: reports.append(progress.text))
    parts = (splits.train, splits.validation, splits.test)
    assert sum(len(part.labels) for part in parts) == 72 - 3
    skipped = dict(pair for part in parts for pair in part.skipped)  # type: ignore[attr-defined]
    assert set(skipped) == broken
    assert any("truncated" in reason for reason in skipped.values())
    assert {text.split(":")[0] for text in reports if text.startswith("skipped")} == {
        f"skipped {path}" for path in broken
    }
    images, labels = all_of(splits.train)
    assert len(images) == len(labels) == len(splits.train.labels)
    # Every image still stands beside the label of its colour.
    assert torch.equal(images.mean((2, 3)).argmax(1), labels)


def test_what_is_known_to_be_broken_is_reported_again_without_another_check(
    imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_images(imagenet)
    first = loaded(imagenet).train.skipped  # type: ignore[attr-defined]
    monkeypatch.setattr("train.data.file_images._fault", lambda path: pytest.fail(f"looked at {path}"))
    reports: list[str] = []
    again = loaded(imagenet, on_progress=lambda progress: reports.append(progress.text)).train
    assert again.skipped == first  # type: ignore[attr-defined]
    assert any(text.startswith("skipped") for text in reports)
    monkeypatch.undo()
    monkeypatch.setenv("PONAS_CACHE", str(imagenet.parent / "cache"))
    mended = first[0][0]
    shutil.copy(mended.with_name("001.jpg"), mended)
    assert mended not in dict(loaded(imagenet).train.skipped)  # type: ignore[attr-defined]


def test_a_cache_that_cannot_be_written_is_done_without(imagenet: Path) -> None:
    (imagenet.parent / "cache").write_text("a file where the folder should be")
    broken_images(imagenet)
    assert len(loaded(imagenet).train.labels) < 60


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_disappears_later_is_named(imagenet: Path, workers: int) -> None:
    splits = loaded(imagenet, workers=workers)
    assert len(splits.test.labels) == 12
    (imagenet / "val" / "eel" / "002.jpg").unlink()
    with pytest.raises(PonasError, match=r"eel/002.jpg cannot be read \(.*\): it could be read before"):
        all_of(splits.test)


def test_a_class_with_nothing_but_broken_images_is_an_error(imagenet: Path) -> None:
    for path in (imagenet / "val" / "dog").iterdir():
        path.write_text("broken")
    with pytest.raises(
        PonasError, match=r"no image of class 'dog' in .*val can be read, dog/000.jpg for one"
    ):
        _ = loaded(imagenet).test.labels


def refused(folder: Path, words: str, **options: object) -> None:
    with pytest.raises(PonasError, match=words) as caught:
        loaded(folder, **options)
    assert "\n" not in str(caught.value)


def test_wrong_layouts_are_refused_in_words(tmp_path: Path, imagenet: Path) -> None:
    refused(tmp_path / "nowhere", r"there is no folder .*nowhere: name a folder of images, or one of digits")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds neither images nor class folders: put the images of each class into")
    picture(tmp_path / "loose" / "1.jpg", COLOURS["cat"], 1)
    refused(tmp_path / "loose", "holds 1 images and no class folders: put")
    fill(tmp_path / "single", 4, ("cat",))
    refused(tmp_path / "single", "holds the images of one class only, 'cat': two or more are needed")
    (imagenet / "train" / "fox").mkdir()
    refused(imagenet, r"class 'fox' in .*train without an image: put images there")
    picture(imagenet / "train" / "fox" / "1.jpg", COLOURS["cat"], 1)
    refused(imagenet, r"the classes differ, only .*train has class 'fox': every part needs the same")
    shutil.rmtree(imagenet / "val" / "cat")
    refused(imagenet, r"only .*train has 2 classes 'cat', 'fox': every")
    picture(imagenet / "val" / "gnu" / "1.jpg", COLOURS["cat"], 1)
    refused(imagenet, r"only .*train has 2 classes 'cat', 'fox' and only .*val has class 'gnu': every")


def test_too_few_images_and_wrong_counts_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    picture(tmp_path / "fox" / "1.jpg", COLOURS["cat"], 1)
    refused(tmp_path, r"class 'fox' in .* has too few images to hold one out for test: add some")
    refused(tmp_path, "validation is 0 images a class: hold out 1 or more", validation=0)


def test_options_are_typed_behind_a_colon(imagenet: Path) -> None:
    splits = load(f"{imagenet}:validation=2,test=1", resolution=24, workers=1)
    assert torch.bincount(splits.validation.labels).tolist() == [2, 2, 2]
    again = load(splits.name, resolution=24, workers=1)
    assert again.name == splits.name == f"{imagenet}:test=1,validation=2"
    refused_text = f"{imagenet}:validation=many"
    with pytest.raises(PonasError, match=r"validation of data set '.*' is 'many', expected a whole number"):
        load(refused_text)
    with pytest.raises(
        UnknownNameError, match=r"unknown option of data set '.*': known are cache_dir, style, test, val"
    ):
        load(f"{imagenet}:colour=red")
    with pytest.raises(PonasError, match="'20' in 'fractal:20' is no option: write NAME:key=value"):
        load("fractal:20")
    with pytest.raises(
        UnknownNameError, match="unknown data set 'mnist': known are a folder of images, cifar10"
    ):
        load("mnist")


def test_a_name_with_options_reaches_the_fractals(tmp_path: Path) -> None:
    text = "fractal:classes=2,images=3,validation=1,test=1"
    reports: list[TrainingProgress] = []
    splits = load(text, resolution=16, cache_dir=tmp_path, on_progress=reports.append)
    assert (splits.classes, len(splits.train.labels)) == (2, 6)
    assert splits.name == "fractal:classes=2,images=3,test=1,validation=1"
    assert reports
    with_values = load(
        "fractal", resolution=16, classes=2, images=3, validation=1, test=1, cache_dir=tmp_path
    )
    assert with_values.name == splits.name
    assert load("digits", on_progress=reports.append).name == "digits"


def test_a_run_trains_on_a_folder(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(searchspace.spaces.registry.SPACES, "tiny", tiny_space)
    broken_images(imagenet)
    settings = TrainSettings(
        str(imagenet), "tiny", 16, seed=1, device="cpu", workers=1, meta=META, fine_tune=FINE_TUNE
    )
    with one_thread():
        result = train_run(settings, imagenet.parent / "run")
        again = train_run(settings, imagenet.parent / "again")
    assert result.table.origin is not None
    assert (result.table.origin.data, result.table.origin.classes) == (str(imagenet), 3)
    assert result.table.top1 == again.table.top1
    assert read_weights(result.weights).class_names == tuple(COLOURS)
    again.table_path.unlink()
    for part in ("train", "val"):
        (imagenet / part / "cat").rename(imagenet / part / "zebra")
    with one_thread(), pytest.raises(PonasError, match=r"classes differ, only .* has class 'cat' and only"):
        train_run(settings, imagenet.parent / "again")


def test_a_run_without_training_images_says_so_before_it_starts(imagenet: Path) -> None:
    shutil.rmtree(imagenet / "train")
    settings = TrainSettings(str(imagenet), resolution=16, device="cpu", workers=1, meta=META)
    with pytest.raises(PonasError, match="has no images for train"):
        train_run(settings, imagenet.parent / "run")
    assert not (imagenet.parent / "run").exists()
