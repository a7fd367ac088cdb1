"""Once-for-all's checkpoints, against a network that cuts itself out of them as their code does."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import CPU, one_thread
from typer.testing import CliRunner

from ofa_layout import NEW, OLD, State, Subnet, layers_of, supernet
from photos import fill, picture
from planted_clocks import spread
from ponas_deploy.commands.app import app
from ponas_deploy.engines.loaded import load_engine
from ponas_deploy.engines.manifest_file import read_manifest
from ponas_deploy.engines.preprocessing import Preprocessing, preprocessing_of
from ponas_deploy.engines.weights import NOT_RECALIBRATED, open_weights, refuse_for_search
from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.errors import PonasError, WeightsError
from ponas_deploy.files.images import read_image
from ponas_deploy.files.weights import WeightsFile, write_weights
from searchspace import Architecture, build_space
from searchspace.description import describe
from searchspace.elastic import transformed
from searchspace.graph import INPUT, network_model
from searchspace.weights import random_weights
from train.compute import WHOLE, Share
from train.data import Batch, Splits, TensorImages, load
from train.data.file_images import FileImages
from train.networks import Network, load_arrays, to_arrays
from train.runs import load_images
from train.stages import Supernet, evaluate, evaluate_subnets, inherited_weights

CLASSES = 10
SMALL = ",".join(["k5e4", "k3e3", "absent", "absent"] * 5)
MIXED = (
    "k5e4,k3e6,absent,absent,k7e3,k3e4,k5e6,absent,k3e3,k7e6,k5e4,k3e6,"
    "k7e4,k5e3,absent,absent,k3e4,k5e6,k7e3,k5e4"
)


@pytest.fixture(autouse=True)
def _steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    with one_thread():
        yield


@pytest.fixture(scope="module")
def state() -> State:
    return supernet(CLASSES)


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeightsFile]:
    """The supernet as a published file, read."""
    folder = tmp_path_factory.mktemp("ofa")
    torch.save({"state_dict": state}, folder / "ofa_mbv3_d234_e346_k357_w1.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PONAS_HOME", str(folder / "home"))
        yield read_file(folder / "ofa_mbv3_d234_e346_k357_w1.0")


def images(resolution: int) -> torch.Tensor:
    return torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))


def through_onnx(file: WeightsFile, labels: str, resolution: int) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    space = build_space(file.metadata["space"], resolution, CLASSES)
    architecture = Architecture.from_text(space, labels)
    model = network_model(architecture, file.inherited(architecture), 2).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {INPUT: images(resolution).numpy()})[0])


def assert_same_logits(found: np.ndarray, wanted: torch.Tensor, of_largest: float = 2e-4) -> None:
    expected = wanted.numpy()
    assert expected.std() > 1e-3
    assert np.abs(found - expected).max() < of_largest * np.abs(expected).max()


@pytest.mark.parametrize(
    ("labels", "resolution"),
    [
        (",".join(["k7e6"] * 20), 64),
        (",".join(["k3e3"] * 20), 64),
        (",".join(["k5e4", "k3e4", "absent", "absent"] * 5), 132),
        (MIXED, 188),
    ],
)
def test_a_subnet_computes_what_the_authors_code_does(
    file: WeightsFile, state: State, labels: str, resolution: int
) -> None:
    wanted = Subnet(state, layers_of(labels))(images(resolution))
    assert_same_logits(through_onnx(file, labels, resolution), wanted)


def test_the_header_says_what_it_is_of(file: WeightsFile) -> None:
    assert file.supernet
    assert (file.metadata["space"], file.number("classes"), file.number("resolution")) == (
        "ofa-mbv3",
        CLASSES,
        None,
    )
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert [preprocessing_of(file, px) for px in (224, 192)] == [
        Preprocessing(mean, std, 256),
        Preprocessing(mean, std, 220),
    ]


def test_a_subnet_has_the_parameters_of_its_description(file: WeightsFile) -> None:
    architecture = Architecture.from_text(build_space("ofa-mbv3", 160, CLASSES), MIXED)
    held = file.inherited(architecture)
    trained = sum(array.size for name, array in held.items() if "running" not in name)
    assert trained == describe(architecture).params


def test_a_file_of_newer_code_or_in_safetensors_is_the_same(
    tmp_path: Path, file: WeightsFile, state: State
) -> None:
    torch.save(supernet(CLASSES, NEW), tmp_path / "newer")
    write_weights(tmp_path / "safe", to_arrays(state), {})
    for name in ("newer", "safe"):
        other = read_file(tmp_path / name)
        assert other.tensors.keys() == file.tensors.keys()
        assert all(np.array_equal(other.tensors[key], file.tensors[key]) for key in file.tensors)


def test_a_smaller_kernel_by_hand() -> None:
    """Channel c of a 7x7 is c + row + 10 * column; the matrix picks and is not symmetric."""
    rows, columns = np.mgrid[0:7, 0:7]
    weight = (np.arange(2)[:, None, None, None] + rows + 10 * columns).astype(np.float32)
    to5, to3 = np.zeros((25, 25), np.float32), np.zeros((9, 9), np.float32)
    to5[np.arange(25), np.arange(24, -1, -1)] = 2  # turned by half, doubled
    to5[0, 0] = 5
    to3[0, 8] = 1  # its first is the last of the centre
    made = transformed(weight, to5)
    centre = weight[1, 0, 1:6, 1:6]
    expected = 2 * centre[::-1, ::-1]
    expected[0, 0] += 5 * centre[0, 0]
    assert np.array_equal(made[1, 0], expected)
    assert transformed(made, to3)[1, 0].ravel().tolist() == [expected[3, 3], *[0] * 8]


@pytest.mark.parametrize("module", [OLD, NEW])
def test_a_specialised_network_is_the_same_in_its_own_layout(tmp_path: Path, module: str) -> None:
    subnet = Subnet(supernet(CLASSES, module), layers_of(MIXED), module)
    torch.save({"state_dict": subnet.specialised()}, tmp_path / "init")
    found = read_file(tmp_path / "init")
    assert not found.supernet
    assert found.metadata["choices"] == MIXED
    assert_same_logits(through_onnx(found, MIXED, 64), subnet(images(64)))
    source = open_weights(tmp_path / "init", None, 0, 0).source(64)
    assert source.network == MIXED
    assert not source.batch_norm
    assert not source.warnings, "it was fine-tuned: its statistics are its own"
    with pytest.raises(WeightsError, match="weights of one network"):
        refuse_for_search(source)


def test_the_other_width_is_told_by_its_stem(tmp_path: Path) -> None:
    wide = supernet(CLASSES, width=1.2)
    torch.save(wide, tmp_path / "wide")
    found = read_file(tmp_path / "wide")
    assert found.metadata["space"] == "ofa-mbv3-w1.2"
    assert_same_logits(through_onnx(found, MIXED, 64), Subnet(wide, layers_of(MIXED))(images(64)))
    with pytest.raises(PonasError, match=r"ofa-mbv3 was asked for, but the weights are for ofa-mbv3-w1\.2"):
        open_weights(tmp_path / "wide", None, 0, 0).space("ofa-mbv3", 160, None)


def test_weights_of_another_network_are_refused_in_a_sentence_that_names_each_once(
    tmp_path: Path, state: State
) -> None:
    torch.save(Subnet(state, layers_of(MIXED)).specialised(), tmp_path / "init")
    asked = ["export", SMALL, "--weights", str(tmp_path / "init"), "--resolution", "64"]
    told = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "engine")])
    assert told.exit_code == 1
    words = " ".join(told.stderr.split())
    assert f"holds the weights of {MIXED}, and {SMALL} was asked for" in words
    assert (words.count(MIXED), words.count(SMALL)) == (1, 1)
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize(
    ("name", "labels"), [("ofa-mbv3", SMALL), ("ofa-mbv3-w1.2", SMALL), ("ponas", ",".join(["k3e3"] * 19))]
)
def test_the_space_of_weights_without_a_header_is_told_by_their_tensors(
    tmp_path: Path, name: str, labels: str
) -> None:
    network = Architecture.from_text(build_space(name, 64, CLASSES), labels)
    write_weights(tmp_path / "plain", random_weights(network), {})
    carried = open_weights(tmp_path / "plain", None, 0, 0)
    assert carried.space_name == name
    assert carried.space(name, 64, CLASSES) == network.space
    assert carried.source(64).network == network.name
    lacking = {key: array for key, array in random_weights(network).items() if key != "stem.conv.conv.weight"}
    write_weights(tmp_path / "lacking", lacking, {})
    with pytest.raises(WeightsError, match=r"'stem\.conv\.conv\.weight'"):
        read_file(tmp_path / "lacking").inherited(network)
    write_weights(tmp_path / "foreign", {"layers.0.weight": np.ones(3, np.float32)}, {})
    assert open_weights(tmp_path / "foreign", None, 0, 0).space_name is None


def test_without_images_it_is_said_that_batch_norm_is_the_supernets(file: WeightsFile) -> None:
    carried = open_weights(file.path, None, 0, 0)
    assert carried.space("ofa-mbv3", 160, None) == build_space("ofa-mbv3", 160, CLASSES)
    with pytest.raises(PonasError, match="--classes 1000 was asked for, but the weights are for 10"):
        carried.space("ofa-mbv3", 160, 1000)
    with pytest.raises(PonasError, match="multiples of 4 pixels, take 160 or 164"):
        carried.space("ofa-mbv3", 162, None)
    source = carried.source(160)
    assert source.warnings == (NOT_RECALIBRATED,)
    assert source.network is None
    refuse_for_search(source)


def test_an_exported_subnet_carries_that_on(
    tmp_path: Path, file: WeightsFile, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("ponas_deploy.engines.loop.time_engine", spread([1.0]))
    asked = ["export", MIXED, "--space", "ofa-mbv3", "--resolution", "64", "--backend", "onnxruntime"]
    told = CliRunner().invoke(app, [*asked, "--weights", str(file.path), "--out", str(tmp_path / "engine")])
    assert told.exit_code == 0, told.output
    assert "the predicted accuracy does not hold" in " ".join(told.output.split())
    manifest = read_manifest(tmp_path / "engine")
    assert NOT_RECALIBRATED in manifest.warnings
    assert manifest.batch_norm == "not recalibrated"
    found = load_engine(tmp_path / "engine")(images(64)[:1].numpy())
    assert_same_logits(found, Subnet(state, layers_of(MIXED))(images(64)[:1]))


def test_a_network_that_the_supernet_does_not_contain_is_refused(tmp_path: Path, file: WeightsFile) -> None:
    labels = MIXED.replace("absent,absent", "absent,k3e3", 1)
    asked = ["export", labels, "--space", "ofa-mbv3", "--weights", str(file.path)]
    told = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "engine")])
    assert told.exit_code == 1
    assert "layer 'L3' is 'k3e3' behind layer 'L2', which is absent" in " ".join(told.output.split())
    assert not (tmp_path / "engine").exists()


@dataclass(frozen=True)
class Recorded:
    """Images that keep the batches they gave, and the seeds of their augmentation."""

    images: TensorImages
    given: list[tuple[torch.Tensor, int | None]]

    @property
    def labels(self) -> torch.Tensor:
        return self.images.labels

    def batches(
        self, size: int, order: torch.Tensor | None = None, augment: int | None = None, share: Share = WHOLE
    ) -> Iterator[Batch]:
        for batch, labels in self.images.batches(size, order, augment, share):
            self.given.append((batch, augment))
            yield batch, labels


def test_batch_norm_is_measured_as_the_authors_measure_it(file: WeightsFile, state: State) -> None:
    random = torch.Generator().manual_seed(1)
    pixels = torch.randn(460, 3, 32, 32, generator=random)
    labels = torch.arange(460) % CLASSES
    given: list[tuple[torch.Tensor, int | None]] = []
    images_of = Recorded(TensorImages(pixels, labels), given)
    splits = Splits("noise", CLASSES, 32, 0, (0, 0, 0), (1, 1, 1), images_of, images_of, images_of)
    architecture = Architecture.from_text(build_space("ofa-mbv3", 32, CLASSES), SMALL)
    seen: list[tuple[int, int]] = []
    found = inherited_weights(
        architecture, file.stored, splits, on_progress=lambda p: seen.append((p.done, p.total)), device="cpu"
    )
    assert [len(batch) for batch, _ in given] == [153, 153, 153], "all of less than 2,000 images"
    assert None not in [augment for _, augment in given], "on augmented images"
    assert seen == [(153, 459), (306, 459), (459, 459)]
    subnet = Subnet(state, layers_of(SMALL))
    subnet.measuring = True
    for batch, _ in given:
        subnet(batch)
    subnet.measuring = False
    network = Network(architecture)
    load_arrays(network, found)
    with torch.inference_mode():
        assert_same_logits(network.eval()(images(32)).numpy(), subnet(images(32)), 1e-3)
    assert not np.array_equal(
        found["head.conv.norm.running_var"], state["final_expand_layer.bn.running_var"].numpy()
    )


def test_a_network_of_a_shortlist_is_measured_as_the_engine_is(file: WeightsFile) -> None:
    pixels = 3 + 2 * torch.randn(230, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    given: list[tuple[torch.Tensor, int | None]] = []
    labels = torch.arange(230) % CLASSES
    train, seen = Recorded(TensorImages(pixels, labels), given), TensorImages(pixels[:60], labels[:60])
    splits = Splits("noise", CLASSES, 32, 0, (0, 0, 0), (1, 1, 1), train, seen, seen)
    architecture = Architecture.from_text(build_space("ofa-mbv3", 32, CLASSES), SMALL)
    losses = []
    for elastic in (True, False):
        listed = Supernet(architecture.space, file.tensors, CPU, elastic=elastic)
        (found,) = evaluate_subnets(listed, [architecture.choices], splits, CPU, 0)
        losses.append(found.evaluation.cross_entropy)
    assert [len(batch) for batch, _ in given] == [115, 115, 64, 64, 64]
    chosen = Network(architecture)
    load_arrays(chosen, inherited_weights(architecture, file.stored, splits, device="cpu"))
    wanted = evaluate(chosen, splits.validation, CPU).cross_entropy
    assert losses[0] == pytest.approx(wanted, rel=1e-4)
    assert losses[1] != pytest.approx(wanted, rel=1e-3)


def test_an_export_with_images_recalibrates_and_says_so(
    tmp_path: Path, file: WeightsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("ponas_deploy.engines.loop.time_engine", spread([1.0]))
    folder = tmp_path / "photos"
    for place in range(6 * CLASSES):
        picture(folder / f"c{place % CLASSES}" / f"{place}.jpg", (place, 4 * place, 90), place)
    asked = ["export", SMALL, "--space", "ofa-mbv3", "--resolution", "32", "--backend", "onnxruntime"]
    out = tmp_path / "engine"
    told = CliRunner().invoke(
        app, [*asked, "--weights", str(file.path), "--data", str(folder), "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    manifest = read_manifest(out)
    assert NOT_RECALIBRATED not in manifest.warnings
    assert manifest.batch_norm == f"recalibrated on training images of {folder}"
    assert manifest.weights.endswith("inherited, batch norm recalibrated on 40 training images")
    assert manifest.top1_pct is not None


def test_a_shortlist_on_few_images_is_refused_before_anything_is_measured(
    tmp_path: Path, file: WeightsFile
) -> None:
    folder = tmp_path / "photos"
    for place in range(6 * CLASSES):
        picture(folder / f"c{place % CLASSES}" / f"{place}.jpg", (place, 4 * place, 90), place)
    asked = ["specialize", "--device", "cpu", "--latency", "5ms", "--resolution", "32", "--shortlist", "3"]
    out = tmp_path / "engine"
    told = CliRunner().invoke(
        app, [*asked, "--weights", str(file.path), "--data", str(folder), "--out", str(out)]
    )
    assert told.exit_code == 1
    assert f"--shortlist: {folder}:style=ofa leaves 40 images to train on and 10 to compare networks by" in (
        " ".join(told.stderr.split())
    )
    assert not out.exists()
    assert not (tmp_path / "home" / "latency").exists()


@pytest.mark.parametrize(("resolution", "said"), [(24, 0), (64, 1)])
def test_images_smaller_than_the_resolution_are_said_wherever_a_supernet_meets_them(
    tmp_path: Path, file: WeightsFile, resolution: int, said: int
) -> None:
    folder, notes = tmp_path / "photos", list[str]()
    for place in range(6 * CLASSES):
        picture(folder / f"c{place % CLASSES}" / f"{place}.png", (place, 4 * place, 90), place)
    load_images(
        (file,),
        data=str(folder),
        resolution=resolution,
        seed=0,
        on_progress=lambda progress: notes.append(progress.text) if progress.note else None,
    )
    assert sum(f"training images are smaller than {resolution} px" in note for note in notes) == said


def test_images_are_prepared_as_the_authors_prepare_them_and_as_the_engine_does(
    tmp_path: Path, file: WeightsFile
) -> None:
    """At 64 px they cut the centre from 74, where other folders of images take 73."""
    folder = tmp_path / "photos"
    for place in range(6 * CLASSES):
        picture(folder / f"c{place % CLASSES}" / f"{place}.png", (place, 4 * place, 90), place)
    splits = load_images((file,), data=str(folder), resolution=64, seed=0, on_progress=lambda progress: None)
    assert (splits.resize_px, splits.name) == (74, f"{folder}:style=ofa")
    how = preprocessing_of(file, splits.resolution)
    assert how == Preprocessing(splits.mean, splits.std, 74)
    assert load(str(folder), resolution=64).resize_px == 73
    test = splits.test
    assert isinstance(test, FileImages)
    path = test.part.root / test.part.files[int(test.indices[0])]
    seen = next(iter(test.batches(1)))[0][0].numpy()
    assert np.abs(seen - how.input_of(read_image(path), 64)).max() < 0.03
    plain, changed = (next(iter(test.batches(1, augment=seed)))[0] for seed in (1, 2))
    assert not torch.equal(plain, changed)
    assert load(splits.name, resolution=64).resize_px == 74, "the name says it"


def test_images_of_other_classes_are_refused(tmp_path: Path, file: WeightsFile) -> None:
    folder = fill(tmp_path / "photos", 6)
    with pytest.raises(WeightsError, match=r"tells 10 classes apart, but .* has 3"):
        open_weights(file.path, str(folder), 0, 0).source(32)


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


PART = f"blocks.7.{OLD}.depth_conv"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: without(s, f"{PART}.conv.5to3_matrix"),
            f"against the supernet of space 'ofa-mbv3' it lacks {PART}.conv.5to3_matrix",
        ),
        (
            lambda s: s | {f"{PART}.bn.bn.weight": torch.ones(3)},
            f"wrong shapes {PART}.bn.bn.weight \\(3,\\) instead of \\(240,\\)",
        ),
        (
            lambda s: without(s, "classifier.linear.weight"),
            r"'ofa-mbv3' it lacks classifier.linear.weight\.$",
        ),
        (lambda s: s | {"blocks.21.extra.weight": torch.ones(3)}, "it has too much blocks.21.extra.weight"),
        (lambda s: s | {"first_conv.conv.weight": torch.ones(40, 3, 3, 3)}, "another width: its stem has 40"),
        (
            lambda s: {k: v for k, v in s.items() if not k.startswith("final_expand_layer")},
            "another family of Once-for-all .ofa_proxyless",
        ),
        (
            lambda s: {"input_stem.0.conv.conv.weight": torch.ones(32, 3, 3, 3)},
            "another family .*ofa_resnet50",
        ),
        (
            lambda s: s | {f"{PART}.conv.7to5_matrix": torch.full((25, 25), torch.nan)},
            f"NaN or infinity in .*{PART}.conv.7to5_matrix",
        ),
    ],
    ids=["lacks", "shape", "lacks classes", "too much", "width", "proxyless", "resnet50", "not finite"],
)
def test_what_is_wrong_with_a_file_is_named_and_nothing_is_written(
    tmp_path: Path, state: State, change: object, said: str
) -> None:
    assert callable(change)
    torch.save({"state_dict": change(state)}, tmp_path / "broken")
    with pytest.raises(WeightsError, match=said):
        read_file(tmp_path / "broken")
    assert not (tmp_path / "home").exists()


def test_a_block_of_no_candidate_is_named(tmp_path: Path, state: State) -> None:
    init = Subnet(state, layers_of(MIXED)).specialised()
    init[f"blocks.1.{OLD}.depth_conv.conv.weight"] = torch.ones(64, 1, 9, 9)
    torch.save(init, tmp_path / "init")
    with pytest.raises(WeightsError, match=r"block 1 .* is no candidate of layer 'L0'"):
        read_file(tmp_path / "init")
