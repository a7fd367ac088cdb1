"""Fractal images: the same settings give the same pixels, whoever draws them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponas_deploy.errors import FileFormatError, PonasError
from train.fractal import FractalSettings, cache_folder, draw, fill_rate, fractal_images, systems
from train.progress import TrainingProgress

ROOT = Path(__file__).parents[2]
SMALL = FractalSettings(classes=6, images_per_class=5, size=32, families=3)


def test_shapes_and_types(tmp_path: Path) -> None:
    images, labels = fractal_images(SMALL, tmp_path)
    assert images.shape == (30, 32, 32)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert labels.tolist() == [label for label in range(6) for _ in range(5)]
    assert all(image.max() == 255 and image.min() == 0 for image in images)


def test_the_same_seed_gives_the_same_pixels_at_any_number_of_processes(tmp_path: Path) -> None:
    one, _ = fractal_images(SMALL, tmp_path / "one", workers=1)
    two, _ = fractal_images(SMALL, tmp_path / "two", workers=2)
    assert np.array_equal(one, two)


def test_another_seed_gives_other_pixels(tmp_path: Path) -> None:
    one, _ = fractal_images(SMALL, tmp_path)
    other, _ = fractal_images(replace(SMALL, seed=1), tmp_path)
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_image_does_not_depend_on_what_is_drawn_with_it() -> None:
    together = draw(SMALL, 2, 0, 5)
    assert np.array_equal(together[3:4], draw(SMALL, 2, 3, 1))
    assert np.array_equal(together, draw(replace(SMALL, images_per_class=1000), 2, 0, 5))
    assert len({image.tobytes() for image in together}) == 5


def test_known_pixels() -> None:
    """Drawn elsewhere; should another platform or NumPy differ, GENERATOR must change."""
    images = draw(SMALL, 0, 0, 2)
    assert images.sum(axis=(1, 2), dtype=np.int64).tolist() == [51967, 53352]


def test_classes_fill_the_frame_and_contract() -> None:
    for system in systems(replace(SMALL, fill_rate=0.3)):
        assert fill_rate(system) >= 0.3
        assert 2 <= len(system.maps) <= 8
        assert system.probabilities.sum() == pytest.approx(1)
        norms = np.linalg.svd(system.maps[:, :4].reshape(-1, 2, 2), compute_uv=False)[:, 0]
        assert norms.max() < 0.99


def test_probabilities_are_proportional_to_the_determinants() -> None:
    system = systems(SMALL)[0]
    sizes = np.abs(np.linalg.det(system.maps[:, :4].reshape(-1, 2, 2)))
    assert system.probabilities == pytest.approx(sizes / sizes.sum(), abs=1e-6)


def test_points_follow_the_chaos_game() -> None:
    """The unrolled walk against the textbook's: mean and spread of the same attractor."""
    from train.fractal.points import points

    system, random = systems(SMALL)[1], np.random.default_rng(0)
    x, y = next(
        points(system.maps[None], system.probabilities, random.random((1, 512)), random.random((1, 64)))
    )
    walked, at = [], np.zeros(2)
    for chosen in random.choice(len(system.maps), 40_000, p=system.probabilities):
        a, b, c, d, e, f = system.maps[chosen]
        at = np.array([a * at[0] + b * at[1] + e, c * at[0] + d * at[1] + f])
        walked.append(at)
    expected = np.array(walked[100:])
    assert np.stack([x, y], axis=1).mean(axis=0) == pytest.approx(expected.mean(axis=0), abs=0.03)
    assert np.stack([x, y], axis=1).std(axis=0) == pytest.approx(expected.std(axis=0), rel=0.05)


def test_classes_of_a_family_are_closer_than_families() -> None:
    related = systems(replace(SMALL, spread=0.1))
    assert related[0].maps.shape == related[3].maps.shape
    assert np.abs(related[0].maps - related[3].maps).max() < 0.3


def test_a_cache_is_read_and_not_drawn_again(tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    first, _ = fractal_images(SMALL, tmp_path, on_progress=seen.append)
    assert [(p.stage, p.done, p.total) for p in seen][-1] == ("data", 30, 30)
    again, _ = fractal_images(SMALL, tmp_path, on_progress=lambda progress: pytest.fail("drawn again"))
    assert np.array_equal(first, again)
    assert sorted(p.name for p in cache_folder(SMALL, tmp_path).iterdir()) == [
        "fractals.json",
        "images.npy",
        "lock",
    ]


def test_another_setting_is_another_cache(tmp_path: Path) -> None:
    changed = (replace(SMALL, size=33), replace(SMALL, perturbation=0.3), replace(SMALL, seed=5))
    assert len({cache_folder(settings, tmp_path) for settings in (SMALL, *changed)}) == 4


DRAW = """
import sys
from pathlib import Path
from train.fractal import FractalSettings, fractal_images

if __name__ == "__main__":
    settings = FractalSettings(classes=40, images_per_class=250, size=32, families=4)
    report = lambda progress: print(progress.done, flush=True)
    fractal_images(settings, Path(sys.argv[1]), workers=int(sys.argv[2]), on_progress=report)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_drawing_goes_on_where_it_stopped(tmp_path: Path, workers: int) -> None:
    settings = FractalSettings(classes=40, images_per_class=250, size=32, families=4)
    script = tmp_path / "draw.py"
    script.write_text(DRAW)
    command = [sys.executable, str(script), str(tmp_path), str(workers)]
    killed = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert killed.stdout is not None
    with killed:
        done = [int(killed.stdout.readline()) for _ in range(5)]
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not (cache_folder(settings, tmp_path) / "fractals.json").exists()
    seen: list[TrainingProgress] = []
    images, _ = fractal_images(settings, tmp_path, on_progress=seen.append)
    assert done[-1] < seen[0].done
    assert seen[-1].done == 10_000
    for label in (0, done[-1] // 250, 39):
        assert np.array_equal(images[label * 250 : label * 250 + 3], draw(settings, label, 0, 3))
    assert images.max(axis=(1, 2)).min() == 255  # no image was left out


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text(DRAW.replace("classes=40", "classes=400"))
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), "2"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    with parent:
        parent.stdout.readline()
        children = _children(parent.pid)
        parent.kill()
    assert len(children) >= 2
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task")
    if not (tasks / str(parent) / "children").exists():
        pytest.skip("this system does not list a process's children under /proc")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def test_a_journal_cut_short_costs_one_chunk(tmp_path: Path) -> None:
    expected = np.array(fractal_images(SMALL, tmp_path / "whole")[0])
    fractal_images(SMALL, tmp_path)
    folder = cache_folder(SMALL, tmp_path)
    (folder / "fractals.json").unlink()
    pixels = np.load(folder / "images.npy")
    pixels[15:] = 0
    np.save(folder / "images.partial.npy", pixels)
    (folder / "done.txt").write_text("0 0 5\n1 0 5\n2 0 5\n3 0")
    images, _ = fractal_images(SMALL, tmp_path)
    assert np.array_equal(images, expected)


def test_a_kill_before_the_header_costs_nothing(tmp_path: Path) -> None:
    expected = np.array(fractal_images(SMALL, tmp_path)[0])
    folder = cache_folder(SMALL, tmp_path)
    (folder / "fractals.json").unlink()
    (folder / "done.txt").write_text("".join(f"{label} 0 5\n" for label in range(6)))
    images, _ = fractal_images(SMALL, tmp_path, on_progress=lambda progress: pytest.fail("drawn again"))
    assert np.array_equal(images, expected)


def test_a_journal_without_its_images_is_not_trusted(tmp_path: Path) -> None:
    folder = cache_folder(SMALL, tmp_path)
    folder.mkdir()
    (folder / "done.txt").write_text("".join(f"{label} 0 5\n" for label in range(6)))
    images, _ = fractal_images(SMALL, tmp_path)
    assert images.max(axis=(1, 2)).min() == 255


def test_two_processes_draw_once(tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text(DRAW)
    command = [sys.executable, str(script), str(tmp_path), "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    lines = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(map(len, lines)) == [0, 40]


def test_damage_is_named(tmp_path: Path) -> None:
    fractal_images(SMALL, tmp_path)
    folder = cache_folder(SMALL, tmp_path)
    (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:1000])
    with pytest.raises(FileFormatError, match="the images are drawn again"):
        fractal_images(SMALL, tmp_path)
    header = json.loads((folder / "fractals.json").read_text())
    header["settings"]["seed"] = 9
    (folder / "fractals.json").write_text(json.dumps(header))
    with pytest.raises(FileFormatError, match="belong to other images"):
        fractal_images(SMALL, tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PonasError, match="cannot be written"):
        fractal_images(SMALL, tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "fractal classes is 1: ask for 2 to 10000"),
        ({"images_per_class": 0}, "fractal images_per_class is 0: ask for 1 to"),
        ({"size": 8}, "fractal size is 8: ask for 16 to 1024"),
        ({"families": 7}, "fractal families is 7: ask for 1 to 6"),
        ({"perturbation": -0.1}, "fractal perturbation is -0.1: ask for 0.0 to 1.0"),
        ({"spread": 2.0}, "fractal spread is 2.0"),
        ({"fill_rate": 0.95}, "fractal fill_rate is 0.95: ask for 0.0 to 0.9"),
        ({"points_per_pixel": 0.0}, "fractal points_per_pixel is 0.0"),
        ({"seed": -1}, "fractal seed is -1"),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PonasError, match=message):
        replace(SMALL, **change)


def test_a_fill_rate_that_no_fractal_reaches() -> None:
    with pytest.raises(
        PonasError, match=r"none of \d+ fractals fills 0.9 of its frame, the fullest one fills 0\."
    ):
        systems(replace(SMALL, fill_rate=0.9))


class TestDataSource:
    """`train.data.fractal`."""

    OPTIONS = {"classes": 4, "images": 6, "validation": 3, "test": 2, "families": 2}  # noqa: RUF012

    def test_splits(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from train.data.fractal import load

        splits = load(32, 0, 1, cache_dir=tmp_path, **self.OPTIONS)  # type: ignore[arg-type]
        assert (splits.name, splits.classes, splits.resolution) == ("fractal", 4, 32)
        assert [len(part.labels) for part in (splits.train, splits.validation, splits.test)] == [24, 12, 8]
        images, labels = next(splits.train.batches(24))
        assert (images.shape, images.dtype, labels.dtype) == ((24, 3, 32, 32), torch.float32, torch.int64)
        assert images.mean().abs() < 0.2
        assert images.std() == pytest.approx(1, abs=0.2)
        assert torch.equal(images[:, 0], images[:, 2])

    def test_held_out_images_stay_when_more_are_trained_on(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from train.data.fractal import load

        few = load(32, 0, 1, cache_dir=tmp_path, **self.OPTIONS)  # type: ignore[arg-type]
        more = load(32, 0, 1, cache_dir=tmp_path, **{**self.OPTIONS, "images": 9})  # type: ignore[arg-type]
        assert torch.equal(next(few.validation.batches(12))[0], next(more.validation.batches(12))[0])
        assert torch.equal(next(few.test.batches(8))[0], next(more.test.batches(8))[0])

    def test_augmentation_turns_and_mirrors_by_seed(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from train.data.fractal import load

        train = load(32, 0, 1, cache_dir=tmp_path, **self.OPTIONS).train  # type: ignore[arg-type]
        order = torch.tensor([3, 1, 20])
        plain, one, same, other = (next(train.batches(3, order, seed))[0] for seed in (None, 1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert one.sum((1, 2, 3)).tolist() == pytest.approx(plain.sum((1, 2, 3)).tolist(), abs=0.1)

    def test_an_empty_part_is_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("torch")
        from train.data.fractal import load

        with pytest.raises(PonasError, match="fractal test is 0 a class: ask for 1 or more"):
            load(32, 0, 1, cache_dir=tmp_path, **{**self.OPTIONS, "test": 0})  # type: ignore[arg-type]
