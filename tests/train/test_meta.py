"""The meta network: schedule, determinism, resuming, and a loss that is not a number."""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import CPU, META, one_thread, space, splits

from ponas_deploy.errors import FileFormatError
from ponas_deploy.files.weights import read_weights, write_weights
from train.errors import TrainingError
from train.networks import Network
from train.progress import TrainingProgress
from train.settings import PRESETS, MetaSettings, preset
from train.stages import evaluate, meta_architecture, train_meta
from train.stages.meta import stepped


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    with one_thread():
        yield


def trained(settings: MetaSettings = META, seed: int = 1, **more: object) -> Network:
    return train_meta(space(), splits(), settings, seed=seed, compute=CPU, **more)[0]  # type: ignore[arg-type]


def same(a: Network, b: Network) -> bool:
    mine, others = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[name], others[name]) for name in others)


def test_the_paper_decays_at_epochs_20_and_40_of_50() -> None:
    rates = [stepped(PRESETS["paper"].meta, epoch) for epoch in range(50)]
    assert rates == pytest.approx([0.1] * 20 + [0.01] * 20 + [0.001] * 10)


def test_the_defaults_are_the_papers() -> None:
    settings = preset("paper")
    assert (settings.meta.batch, settings.meta.momentum, settings.meta.weight_decay) == (256, 0.9, 4e-5)
    assert (settings.fine_tune.epochs, settings.fine_tune.lr) == (3, 0.001)
    assert preset("quick", seed=7).seed == 7


def test_it_is_the_largest_block_everywhere() -> None:
    assert meta_architecture(space()).choices == ("k5e6se",) * 3


def test_it_learns() -> None:
    _, evaluation = train_meta(space(), splits(), replace(META, epochs=24), seed=1, compute=CPU)
    assert evaluation.top1_pct > 80
    assert evaluation.images == 36
    assert evaluation.top5_pct == 100


def test_the_seed_decides_everything() -> None:
    assert same(trained(), trained())
    assert not same(trained(), trained(seed=2))


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_an_interrupted_training_ends_like_an_unbroken_one(tmp_path: Path, stop: int) -> None:
    state = tmp_path / "state.safetensors"

    def interrupt(progress: TrainingProgress) -> None:
        if progress.done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(state=state, on_progress=interrupt)
    assert state.exists() == (stop > 4)  # an epoch has four batches
    steps: list[int] = []
    resumed = trained(state=state, on_progress=lambda p: None if p.milestone else steps.append(p.done))
    assert steps == list(range(4 * ((stop - 1) // 4) + 1, 13))
    assert same(resumed, trained())


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_state(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    trained(replace(META, epochs=1), state=state)
    good = state.read_bytes()
    with pytest.raises(
        TrainingError, match=r"meta network is not a finite number at step \d.*smaller"
    ) as error:
        trained(replace(META, lr=1e30), state=state)
    assert error.value.step > 4
    assert state.read_bytes() == good


def test_a_state_of_another_network_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"nothing of the kind")
    with pytest.raises(FileFormatError, match=r"state.safetensors: is neither a safetensors file"):
        trained(state=state)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layers.2.expand.conv.weight", "lacking", "the weights lack 'layers.2.expand.conv.weight' of shape"),
        ("momentum/head.conv.conv.weight", "lacking", "the weights lack 'momentum/head.conv.conv.weight' of"),
        ("layers.9.extra", "extra", "the weights hold 'layers.9.extra', which this network does not have"),
        ("stem.conv.conv.weight", "shape", r"'stem.conv.conv.weight' has shape \(2, 2\) in the weights, the"),
        ("momentum/head.classifier.bias", "shape", r"'momentum/head.classifier.bias' has shape \(2, 2\) in"),
    ],
)
def test_a_state_with_a_missing_or_extra_key_names_it(
    tmp_path: Path, name: str, change: str, message: str
) -> None:
    state = tmp_path / "state.safetensors"
    trained(replace(META, epochs=1), state=state)
    file = read_weights(state)
    tensors = {**file.tensors, name: np.zeros((2, 2), np.float32)}
    if change == "lacking":
        del tensors[name]
    write_weights(state, tensors, file.metadata)
    with pytest.raises(FileFormatError, match=rf"state.safetensors: is not the state of this run: {message}"):
        trained(state=state)


def test_evaluation_agrees_with_a_count_by_hand() -> None:
    network, images = trained(), splits().validation
    batch, labels = next(images.batches(36))
    with torch.no_grad():
        logits = network.eval()(batch)
    found = evaluate(network, images, CPU)
    assert found.top1_pct == pytest.approx(100 * float((logits.argmax(1) == labels).float().mean()))
    assert found.cross_entropy == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5
    )
