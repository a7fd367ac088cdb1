"""`ponas evaluate`: the same answers through torch and through emitted engines, and what it refuses."""
# ruff: noqa: E402

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("sklearn", reason="needs the train extra (scikit-learn)")

from authors_layout import theirs
from conftest import tiny_space
from photos import COLOURS, fill
from ponas_deploy.boards.book import Entry
from ponas_deploy.commands import app
from ponas_deploy.engines import timing
from ponas_deploy.engines.accuracy import Accuracy, agree, measure
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.task import RANDOM_WEIGHTS
from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import read_weights, write_weights
from ponas_deploy.remote import images
from ponas_deploy.remote.job import Job
from searchspace import SPACES, Architecture, build_space
from searchspace.weights import inherit, random_weights
from train.data import load
from train.runs import TrainResult, train_run
from train.settings import FineTuneSettings, MetaSettings, TrainSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

SETTINGS = TrainSettings(
    "digits",
    "tiny",
    resolution=16,
    seed=3,
    device="cpu",
    workers=1,
    meta=MetaSettings(epochs=12, batch=32, lr=0.1),
    fine_tune=FineTuneSettings(epochs=1, batch=64, lr=0.01),
)
LABELS = ("k3e3", "k5e3se", "k3e6", "k5e6se")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainResult]:
    """A small network of the tiny space, trained on digits for some seconds; and that space known."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "tiny", tiny_space)
        yield train_run(SETTINGS, tmp_path_factory.mktemp("run"))
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PONAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    monkeypatch.setattr(timing, "PROCESSES", 1)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output + repr(result.exception)
    return json.loads(result.stdout)


def refused(result: Result, words: str) -> None:
    """Exit code 1, and one sentence with `words`."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output + repr(result.exception)
    assert words in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_torch_and_the_engine_of_a_trained_network_agree(
    run: Run, trained: TrainResult, backend: str
) -> None:
    pytest.importorskip(backend)
    best, weights = trained.best.text, trained.weights
    made = document(
        run(
            "export", best, "--weights", weights, "--backend", backend, "--batch", "4", "--out", "e", "--json"
        )
    )
    found = document(run("evaluate", best, "--weights", weights, "--engine", "e", "--json"))
    assert found["agree"] is True
    assert found["top1_pct"] > 60
    assert found["top5_pct"] > 90
    assert found["engine"]["top1_pct"] == pytest.approx(found["top1_pct"])
    assert found["engine"]["top5_pct"] == pytest.approx(found["top5_pct"])
    assert found["engine"]["images"] == found["images"] == 359
    assert found["engine"]["top1_pct"] == pytest.approx(made["top1_pct"])
    report = run("evaluate", best, "--weights", weights, "--engine", "e").stdout
    assert "they agree" in report
    assert "359 test images of digits" in report


def test_images_go_through_the_engine_of_a_board(
    run: Run, trained: TrainResult, board: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(images, "MOST_BYTES", 100 * 3 * 16 * 16 * 4)
    best, weights, steps, do = trained.best.text, trained.weights, list[str](), Job.do
    options = ["--backend", "onnxruntime", "--batch", "4", "--out", "e", "--json"]
    made = document(run("export", best, "--weights", weights, "--device", board.name, *options))
    assert made["device"]["device"] == "box"

    def noted(self: Job, step: str, *given: Any, **details: Any) -> Any:
        steps.append(step)
        return do(self, step, *given, **details)

    monkeypatch.setattr(Job, "do", noted)
    found = document(run("evaluate", best, "--weights", weights, "--engine", "e", "--json"))
    assert found["agree"] is True
    assert found["engine"]["images"] == 359
    assert found["engine"]["top1_pct"] == pytest.approx(made["top1_pct"])
    assert steps == ["about", "open_engine", *["run"] * 4, "close"]


def test_a_networks_own_weights_are_evaluated_as_they_are(run: Run, trained: TrainResult) -> None:
    meta = ",".join([LABELS[-1]] * 3)
    found = document(run("evaluate", meta, "--weights", trained.meta, "--data", "digits", "--json"))
    details = dict(trained.table.origin.details) if trained.table.origin else {}
    assert f"{found['top1_pct']:.2f}" == details["meta_test_top1_pct"]
    assert found["weights"] == "meta.safetensors: as they are"
    assert (found["images"], found["split"], found["space"], found["resolution"]) == (359, "test", "tiny", 16)
    assert (found["engine"], found["agree"]) == (None, None)
    assert found["choices"] == meta.split(",")
    assert found["top1_pct"] <= found["top5_pct"] <= 100


def test_every_split_and_all_of_them(run: Run, trained: TrainResult) -> None:
    meta = ",".join([LABELS[-1]] * 3)
    given = ("evaluate", meta, "--weights", trained.meta, "--json", "--split")
    parts = [document(run(*given, split)) for split in ("train", "validation", "test")]
    whole = document(run(*given, "all"))
    assert whole["images"] == sum(part["images"] for part in parts) == 1797
    right = sum(part["top1_pct"] * part["images"] for part in parts)
    assert whole["top1_pct"] == pytest.approx(right / 1797)
    refused(run(*given, "dessert"), "unknown split 'dessert': known are all, test, train, validation")


def test_an_engine_with_other_weights_does_not_agree(run: Run, trained: TrainResult) -> None:
    best = trained.best.text
    given = ("--space", "tiny", "--resolution", "16", "--classes", "10", "--out", "random", "--json")
    document(run("export", best, *given))
    result = run("evaluate", best, "--weights", trained.weights, "--engine", "random", "--json")
    found = document(result, exit_code=1)
    assert found["agree"] is False
    assert found["engine"]["top1_pct"] < 40
    assert "the engine does not agree with torch: it carries other weights (random (seed 0)" in result.stderr
    assert f"random: {RANDOM_WEIGHTS}" in result.stderr
    shown = run("evaluate", best, "--weights", trained.weights, "--engine", "random")
    assert shown.exit_code == 1
    assert "they differ" in shown.stdout


def test_engines_that_do_not_belong_are_refused(run: Run, trained: TrainResult) -> None:
    best, other = trained.best.text, ",".join([LABELS[0]] * 3)
    assert best != other
    for name, arch, resolution in (("other", other, "16"), ("large", best, "24")):
        space = ("--space", "tiny", "--resolution", resolution, "--classes", "10")
        document(run("export", arch, *space, "--out", name, "--json"))
    given = ("evaluate", best, "--weights", trained.weights, "--json", "--engine")
    refused(run(*given, "other"), f"the engine is another network's, {other}: evaluate that one")
    refused(
        run(*given, "large"),
        "the engine is for 10 classes at 24 px of space 'tiny', the images are 10 classes at 16",
    )
    refused(run(*given, "nowhere"), "there is no such file")
    manifest = Path("other/manifest.json")
    manifest.write_text(manifest.read_text().replace("engine.optimized.onnx", "", 1))
    refused(run(*given, "other"), "holds no engine yet")


@dataclass(frozen=True)
class Photos:
    """A folder of coloured images, and weights of the tiny space that fit it."""

    folder: Path
    weights: Path
    arch: str


@pytest.fixture
def photos(tmp_path: Path, trained: TrainResult) -> Photos:
    folder = fill(tmp_path / "photos" / "train", 8).parent
    fill(folder / "val", 5)
    architecture = Architecture(build_space("tiny", 16, 3), (LABELS[0],) * 3)
    path = tmp_path / "w.safetensors"
    write_weights(
        path, random_weights(architecture), {"layout": "network", "space": "tiny", "resolution": "16"}
    )
    return Photos(folder, path, architecture.text)


def test_a_folder_is_evaluated_and_its_broken_images_are_named(run: Run, photos: Photos) -> None:
    (photos.folder / "val" / "eel" / "001.jpg").write_text("broken")
    result = run("evaluate", photos.arch, "--weights", photos.weights, "--data", photos.folder, "--json")
    found = document(result)
    assert (found["images"], found["data"], found["top5_pct"]) == (14, str(photos.folder), 100.0)
    assert f"skipped {photos.folder}/val/eel/001.jpg: " in result.stderr


def test_the_accuracy_is_that_of_the_images_one_by_one(run: Run, photos: Photos) -> None:
    """Top-1 counted here, from a network built here and images in batches of one."""
    from train.networks import Network, load_arrays

    architecture = Architecture(build_space("tiny", 16, 3), (LABELS[0],) * 3)
    network = Network(architecture)
    load_arrays(network, inherit(read_weights(photos.weights).tensors, architecture))
    images = load(str(photos.folder), resolution=16, workers=1).test
    with torch.inference_mode():
        answers = [int(network.eval()(image).argmax()) == int(label) for image, label in images.batches(1)]
    found = document(
        run("evaluate", photos.arch, "--weights", photos.weights, "--data", photos.folder, "--json")
    )
    assert found["top1_pct"] == pytest.approx(100 * sum(answers) / len(answers))


def test_bad_input_is_one_sentence(run: Run, photos: Photos, trained: TrainResult) -> None:
    def given(
        data: object = photos.folder, weights: object = photos.weights, arch: str = photos.arch
    ) -> Result:
        return run("evaluate", arch, "--weights", weights, "--data", data, "--json")

    refused(given(weights="none.safetensors"), "none.safetensors: there is no such file")
    refused(given(weights="none.pth"), "none.pth: there is no such file")
    refused(given(data="./nowhere"), "there is no folder ./nowhere: name a folder of images")
    refused(given(data="nothing"), "unknown data set 'nothing': known are a folder of images, cifar10")
    Path("empty").mkdir()
    refused(given(data="./empty"), "holds neither images nor class folders")
    (photos.folder / "val" / "fox").mkdir()
    refused(given(), "class 'fox' in")
    (photos.folder / "val" / "fox").rmdir()
    refused(given(data="digits"), "w.safetensors tells 3 classes apart, but digits has 10")
    refused(given(weights=trained.weights), "the classes differ, only")
    refused(given(arch="PONAS-A"), "PONAS-A belongs to space 'ponas', not 'tiny'")
    other = ",".join([LABELS[1]] * 3)
    refused(given(arch=other), f"w.safetensors is another network's, {photos.arch}: name that")
    refused(given(arch="k5e3"), "unknown architecture")
    Path("broken.safetensors").write_bytes(b"nonsense")
    refused(given(weights="broken.safetensors"), "is neither a safetensors file nor a torch checkpoint")
    assert given(arch="--nonsense").exit_code == 2


def named(photos: Photos, names: tuple[str, ...]) -> Path:
    """The weights of `photos`, whose outputs are cat, dog and eel, with their outputs in this order."""
    file, order = read_weights(photos.weights), [list(COLOURS).index(name) for name in names]
    last = [name for name in file.tensors if name.startswith("head.classifier.")]
    assert len(last) == 2
    tensors = {**file.tensors, **{name: np.ascontiguousarray(file.tensors[name][order]) for name in last}}
    path = Path(f"{'-'.join(names)}.safetensors")
    write_weights(path, tensors, {**file.metadata, "classes": "3", "class_names": json.dumps(names)})
    return path


def test_classes_are_mapped_by_name(run: Run, photos: Photos) -> None:
    """Through torch, through an engine, and on images that INT8 scales or accuracy come from."""
    given = ("evaluate", photos.arch, "--data", photos.folder, "--json", "--weights")
    nameless = run(*given, photos.weights)
    assert "does not name its classes: those of" in nameless.stderr
    expected = document(nameless)
    names = ("dog", "eel", "cat")
    weights = named(photos, names)
    to = ("--data", photos.folder, "--out", "engine", "--json")
    made = document(run("export", photos.arch, "--weights", weights, *to))
    result = run(*given, weights, "--engine", "engine")
    assert "does not name" not in result.stderr
    found = document(result)
    assert found["top1_pct"] == found["engine"]["top1_pct"] == expected["top1_pct"] == made["top1_pct"]
    assert read_manifest(Path("engine")).class_names == names
    sorted_ones = named(photos, ("cat", "dog", "eel"))
    assert document(run(*given, sorted_ones))["top1_pct"] == expected["top1_pct"]
    refused(
        run(*given, sorted_ones, "--engine", "engine"),
        "the classes differ, the engine numbers them in another order: evaluate the engine of these weights",
    )


def test_images_of_other_classes_are_refused_by_name(run: Run, photos: Photos) -> None:
    weights = named(photos, ("cat", "dog", "eel"))
    for part in ("train", "val"):
        (photos.folder / part / "cat").rename(photos.folder / part / "yak\x1b[31m")
    given = ("evaluate", photos.arch, "--data", photos.folder, "--json", "--weights")
    only = f"only {weights} has class 'cat' and only {photos.folder} has class 'yak\\x1b[31m': name images of"
    refused(run(*given, weights), only)
    write_weights(Path("wrong.safetensors"), read_weights(weights).tensors, {"class_names": '["a", "a"]'})
    refused(run(*given, "wrong.safetensors"), "class_names: holds class 'a' more than once")


def test_weights_of_another_space_or_network_are_refused(run: Run, photos: Photos) -> None:
    file = read_weights(photos.weights)
    given = ("evaluate", photos.arch, "--data", photos.folder, "--json", "--weights")
    for change, words in (
        ({"space": "mars"}, "unknown space 'mars': known are"),
        ({"space": "ponas"}, "space 'ponas' has 19 layers, but 3 choices were given"),
        ({"fingerprint": "0" * 16}, "belongs to another version of space 'tiny'"),
        ({"choices": "k3e6,k3e6,k3e6"}, "is another network's, k3e6,k3e6,k3e6: name that network"),
        ({"classes": "7"}, "tells 7 classes apart, but"),
    ):
        write_weights(Path("changed.safetensors"), file.tensors, {**file.metadata, **change})
        refused(run(*given, "changed.safetensors"), words)
    refused(
        run(*given, photos.weights, "--space", "ponas"),
        "--space ponas was asked for, but the weights are for tiny",
    )
    refused(
        run(*given, photos.weights, "--resolution", "32"),
        "--resolution 32 was asked for, but the weights are for 16",
    )
    silent = ("evaluate", photos.arch, "--json", "--weights", photos.weights)
    refused(run(*silent), "does not say what it was trained on: name the images with --data")


def test_without_torch_the_extra_is_named(run: Run, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ponas_deploy.engines.evaluation.find_spec", lambda name: None)
    refused(run("evaluate", photos.arch, "--weights", photos.weights), "pip install 'ponas-deploy[train]'")


def test_an_authors_checkpoint_is_converted_once_and_evaluated_and_exported(run: Run, tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos" / "val", 2).parent
    torch.save(theirs("PONAS-A", len(COLOURS)).state_dict(), "ponas_a.pth")
    given = ("--weights", "ponas_a.pth", "--data", folder, "--json")
    first = run("evaluate", "PONAS-A", *given)
    assert "ponas_a.pth is PONAS-A in the layout of the PONAS authors; converted to" in first.stderr
    found = document(first)
    assert (found["images"], found["resolution"], found["top5_pct"]) == (6, 224, 100.0)
    (kept,) = (tmp_path / "home" / "weights").iterdir()
    written = kept.stat().st_mtime_ns
    made = run("export", "PONAS-A", *given, "--out", "engine")
    assert document(made)["top1_pct"] == pytest.approx(found["top1_pct"])
    assert "3 classes (cat, dog, eel); 6 validation images\n" in made.stderr
    assert "does not name its classes: those of" in made.stderr
    assert read_manifest(Path("engine")).class_names == ("cat", "dog", "eel")
    assert "converted" not in made.stderr
    assert kept.stat().st_mtime_ns == written
    both = document(run("evaluate", "PONAS-A", *given, "--engine", "engine"))
    assert both["agree"] is True
    refused(run("evaluate", "PONAS-B", *given), "ponas_a.pth is another network's, PONAS-A: name that")
    torch.save({"weight": torch.ones(3)}, "other.pth")
    refused(
        run("evaluate", "PONAS-A", "--weights", "other.pth", "--data", folder),
        "is in no layout that is known here",
    )


class Answers:
    """A session that answers with given logits, in batches of two."""

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits, self.seen = np.array(logits, np.float32), 0

    def run(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == (2, 3, 1, 1)
        self.seen += 2
        padded = np.concatenate([self.logits, np.full((2, self.logits.shape[1]), 9, np.float32)])
        return padded[self.seen - 2 : self.seen]


def counted(logits: list[list[float]], labels: list[int]) -> Accuracy:
    pairs = [
        (np.zeros((len(part), 3, 1, 1), np.float32), np.array(part))
        for part in (labels[start : start + 2] for start in range(0, len(labels), 2))
    ]
    return measure(Answers(logits), pairs, 2)  # type: ignore[arg-type]


def test_an_engines_answers_are_counted_without_the_padding() -> None:
    rising = [0.0, 1, 2, 3, 4, 5, 6]
    assert counted([rising] * 3, [6, 2, 1]) == Accuracy(100 / 3, 200 / 3, 3)
    assert counted([[1.0, 0.0]] * 3, [0, 1, 1]) == Accuracy(100 / 3, 100.0, 3)
    with pytest.raises(PonasError, match="the engine answers with NaN or infinity"):
        counted([[float("nan"), 0.0]], [0])
    with pytest.raises(PonasError, match="there is no image"):
        counted([], [])


def test_agreement_is_a_tenth_of_a_point_in_fp32_and_always_one_image() -> None:
    of_many = Accuracy(70.0, 90.0, 10_000)
    for precision, apart, same in (
        ("fp32", 0.1, True),
        ("fp32", 0.11, False),
        ("fp16", 0.5, True),
        ("fp16", 0.51, False),
        ("bf16", 1.0, True),
    ):
        assert agree(of_many, replace(of_many, top1_pct=70 - apart), precision) is same
    of_few = Accuracy(50.0, 100.0, 10)
    assert agree(of_few, replace(of_few, top1_pct=60.0), "fp32")
    assert not agree(of_few, replace(of_few, images=9), "fp32")
