"""Progressive fine-tuning: fair, exact in its shortcuts, and a row for every layer."""
# ruff: noqa: E402

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from plain import candidates_one_by_one
from tiny_training import CPU, FINE_TUNE, LABELS, META, one_thread, space, splits
from torch import nn

from train.compute import Compute
from train.data import Splits, TensorImages
from train.errors import TrainingError
from train.networks import Block, Network, frozen
from train.progress import TrainingProgress
from train.settings import FineTuneSettings
from train.stages import TunedLayer, fine_tune, train_meta
from train.stages.candidates import CandidateTraining, cropped


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    with one_thread():
        yield


@cache
def _meta() -> Network:
    return train_meta(space(), splits(), replace(META, epochs=20), seed=1, compute=CPU)[0]


def tuned(
    settings: FineTuneSettings = FINE_TUNE, data: Splits | None = None, compute: Compute = CPU, seed: int = 1
) -> list[TunedLayer]:
    network = copy.deepcopy(_meta())
    return list(fine_tune(space(), network, data or splits(), settings, seed=seed, compute=compute))


def close(a: nn.Module, b: nn.Module, rtol: float, atol: float) -> None:
    mine, others = a.state_dict(), b.state_dict()
    assert mine.keys() == others.keys()
    for name in mine:
        torch.testing.assert_close(
            mine[name], others[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )


def candidate_training(settings: FineTuneSettings = FINE_TUNE) -> CandidateTraining:
    network = _meta()
    parts = network.parts()
    before, after = frozen(parts[:2]), frozen(parts[3:])
    return CandidateTraining(
        "layer 2", cropped(space().layers[1], parts[2], CPU), before, after, settings, CPU
    )


def test_a_row_for_every_layer_with_the_best_staying() -> None:
    network = copy.deepcopy(_meta())
    layers = list(fine_tune(space(), network, splits(), FINE_TUNE, seed=1, compute=CPU))
    assert [layer.row.layer for layer in layers] == ["1", "2", "3"]
    for layer in layers:
        row = layer.row
        assert row.labels == LABELS
        assert all(0 <= value <= 100 for value in row.top1_pct)
        best = row.labels.index(row.chosen)
        assert row.top1_pct[best] == max(row.top1_pct)
        tied = [
            loss
            for value, loss in zip(row.top1_pct, row.cross_entropy, strict=True)
            if value == max(row.top1_pct)
        ]
        assert row.cross_entropy[best] == min(tied)
        assert network.layers[row.layer] is layer.candidates[best]
    assert network.architecture.choices == tuple(layer.row.chosen for layer in layers)


def test_every_candidate_is_updated_exactly_once_on_each_batch() -> None:
    """Strict fairness, seen from outside: one training pass and one change a candidate between steps."""
    fair = candidate_training()
    passes = [0] * 4
    for index, candidate in enumerate(fair.candidates):

        def count(*_: object, index: int = index) -> None:
            passes[index] += 1

        candidate.register_forward_hook(count)
    weights = [next(candidate.parameters()) for candidate in fair.candidates]
    before = [weight.detach().clone() for weight in weights]
    steps = 0

    def after_step(_: float) -> None:
        nonlocal steps
        steps += 1
        assert passes == [steps] * 4
        for index, weight in enumerate(weights):
            assert not torch.equal(weight, before[index])
            before[index] = weight.detach().clone()

    fair.train(splits().train, 1, after_step)
    assert steps == FINE_TUNE.epochs * (70 // 16)


def test_the_rest_of_the_network_stays_as_it_is() -> None:
    network = copy.deepcopy(_meta())
    for _ in fine_tune(space(), network, splits(), FINE_TUNE, seed=1, compute=CPU):
        pass
    close(network.stem, _meta().stem, 0, 0)
    close(network.head, _meta().head, 0, 0)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_shared_passes_give_what_twelve_full_passes_give(layer: int) -> None:
    network = copy.deepcopy(_meta())
    shared = fine_tune(space(), network, splits(), FINE_TUNE, seed=1, compute=CPU)
    for _ in range(layer):
        next(shared)
    plain = candidates_one_by_one(space(), network, splits(), FINE_TUNE, layer, 1, CPU)
    found = next(shared)
    for index, (block, evaluation) in enumerate(plain):
        close(found.candidates[index], block, rtol=1e-3, atol=1e-4)
        assert found.row.top1_pct[index] == pytest.approx(evaluation.top1_pct)
        assert found.row.cross_entropy[index] == pytest.approx(evaluation.cross_entropy, abs=1e-4)


def halved() -> Splits:
    """The images at 8 px: the second and third layer see maps of 2x2, on which k3 and k5 are equivalent."""
    data = splits()
    small = [
        TensorImages(p.images[:, :, ::2, ::2], p.labels) for p in (data.train, data.validation, data.test)
    ]  # type: ignore[attr-defined]
    return replace(data, resolution=8, train=small[0], validation=small[1], test=small[2])


@pytest.mark.parametrize("layer", [1, 2])
def test_equivalent_candidates_that_train_once_get_what_each_would_have_got(layer: int) -> None:
    network = copy.deepcopy(_meta())
    shared = fine_tune(space(8), network, halved(), FINE_TUNE, seed=1, compute=CPU)
    for _ in range(layer):
        next(shared)
    plain = candidates_one_by_one(space(8), network, halved(), FINE_TUNE, layer, 1, CPU)
    found = next(shared)
    row = found.row
    for index, (block, evaluation) in enumerate(plain):
        close(found.candidates[index], block, rtol=1e-3, atol=1e-4)
        assert row.top1_pct[index] == pytest.approx(evaluation.top1_pct)
        assert row.cross_entropy[index] == pytest.approx(evaluation.cross_entropy, abs=1e-4)
    for small, large in ((0, 1), (2, 3)):
        assert row.top1_pct[small] == row.top1_pct[large]
        assert row.cross_entropy[small] == row.cross_entropy[large]
    assert row.chosen in ("k3e3", "k3e6se")  # of equivalent candidates the smaller one stays


def test_where_shared_parts_learn_from_all_candidates_equivalent_ones_train_each() -> None:
    network = copy.deepcopy(_meta()).eval()
    images, labels = next(halved().train.batches(16))
    blocks = cropped(space().layers[1], network.parts()[2], CPU)
    before, after = nn.Sequential(*network.parts()[:2]), nn.Sequential(*network.parts()[3:])
    for block in blocks:
        block.train()
    losses = [nn.functional.cross_entropy(after(block(before(images))), labels) for block in blocks]
    weight = network.stem.conv.conv.weight
    expected = torch.autograd.grad(torch.stack(losses).sum(), weight)[0]
    old = weight.detach().clone()
    settings = replace(FINE_TUNE, epochs=1, lr=1.0, momentum=0.0, weight_decay=0.0, scope="path")
    one_batch = replace(halved(), train=TensorImages(images, labels))
    next(fine_tune(space(8), network, one_batch, settings, seed=1, compute=CPU, finished=1))
    torch.testing.assert_close(old - weight.detach(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("change", [{"pass_images": 1}, {"pass_images": 10_000}, {"lanes": 3}])
def test_how_the_work_is_cut_up_changes_nothing(change: dict[str, int]) -> None:
    lanes = change.pop("lanes", 1)
    expected = tuned()
    for mine, other in zip(
        tuned(replace(FINE_TUNE, **change), compute=Compute(CPU.device, lanes)), expected, strict=True
    ):
        assert mine.row.top1_pct == other.row.top1_pct
        for a, b in zip(mine.candidates, other.candidates, strict=True):
            close(a, b, rtol=1e-4, atol=1e-5)


def unaugmented() -> Splits:
    data = splits()
    plain = [TensorImages(p.images, p.labels) for p in (data.train, data.validation, data.test)]  # type: ignore[attr-defined]
    return replace(data, train=plain[0], validation=plain[1], test=plain[2])


def test_features_that_do_not_fit_into_memory_are_computed_again() -> None:
    streamed = tuned(replace(FINE_TUNE, cache_mib=0), unaugmented())
    for mine, other in zip(streamed, tuned(), strict=True):
        assert mine.row.top1_pct == other.row.top1_pct
        for a, b in zip(mine.candidates, other.candidates, strict=True):
            close(a, b, rtol=1e-4, atol=1e-5)


def test_streamed_images_are_augmented() -> None:
    assert tuned(replace(FINE_TUNE, cache_mib=0))[0].row != tuned()[0].row


def test_the_seed_decides_everything() -> None:
    first, again, other = tuned(), tuned(), tuned(seed=2)
    assert [layer.row for layer in first] == [layer.row for layer in again]
    close(first[2].candidates[3], again[2].candidates[3], 0, 0)
    assert [layer.row.cross_entropy for layer in first] != [layer.row.cross_entropy for layer in other]


def test_fine_tuning_can_start_at_any_layer() -> None:
    network = copy.deepcopy(_meta())
    whole = fine_tune(space(), network, splits(), FINE_TUNE, seed=1, compute=CPU)
    next(whole)
    middle = copy.deepcopy(network)
    resumed = list(fine_tune(space(), middle, splits(), FINE_TUNE, seed=1, compute=CPU, finished=1))
    assert [layer.row for layer in resumed] == [layer.row for layer in whole]


def test_the_whole_path_trains_the_shared_parts_too() -> None:
    network = copy.deepcopy(_meta())
    layers = list(
        fine_tune(space(), network, splits(), replace(FINE_TUNE, scope="path", lr=0.01), seed=1, compute=CPU)
    )
    assert len(layers) == 3
    for part, old in ((network.stem, _meta().stem), (network.head, _meta().head)):
        changed = [not torch.equal(a, b) for a, b in zip(part.parameters(), old.parameters(), strict=True)]
        assert all(changed)
        for mine, other in zip(part.buffers(), old.buffers(), strict=True):
            assert torch.equal(mine, other)  # running statistics are not touched


def test_shared_parts_get_the_sum_of_the_candidates_gradients() -> None:
    network = copy.deepcopy(_meta()).eval()
    images, labels = next(splits().train.batches(16))
    before, after = nn.Sequential(*network.parts()[:2]), nn.Sequential(*network.parts()[3:])
    blocks = cropped(space().layers[1], network.parts()[2], CPU)
    for block in blocks:
        block.train()
    losses = [nn.functional.cross_entropy(after(block(before(images))), labels) for block in blocks]
    weight = network.stem.conv.conv.weight
    expected = torch.autograd.grad(torch.stack(losses).sum(), weight)[0]
    shared = CandidateTraining(
        "layer 2", blocks, before, after, replace(FINE_TUNE, lr=1.0, momentum=0.0), CPU
    )
    old = weight.detach().clone()
    one_batch = TensorImages(images, labels)
    shared_settings = replace(shared.settings, epochs=1, weight_decay=0.0)
    replace(shared, settings=shared_settings).train(one_batch, 1, lambda _: None)
    torch.testing.assert_close(old - weight.detach(), expected, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_no_number_names_layer_and_step_before_anything_changes() -> None:
    images, labels = next(splits().train.batches(70))
    images = images.clone()
    images[3] = float("nan")
    broken = candidate_training()
    before = [copy.deepcopy(candidate) for candidate in broken.candidates]
    with pytest.raises(TrainingError, match="loss of layer 2 is not a finite number at step 1") as error:
        replace(broken, settings=replace(FINE_TUNE, batch=70)).train(
            TensorImages(images, labels), 1, lambda _: None
        )
    assert (error.value.stage, error.value.step) == ("layer 2", 1)
    for mine, old in zip(broken.candidates, before, strict=True):
        for a, b in zip(mine.parameters(), old.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_last_step_that_breaks_the_weights_is_noticed() -> None:
    contended = replace(candidate_training(), settings=replace(FINE_TUNE, epochs=1, batch=70))

    def break_weights(_: float) -> None:
        nn.init.constant_(next(contended.candidates[2].parameters()), float("inf"))

    with pytest.raises(TrainingError, match="layer 2 is not a finite number at step 1"):
        contended.train(splits().train, 1, break_weights)


def test_progress_never_runs_backwards_and_ends_at_its_total() -> None:
    seen: list[TrainingProgress] = []
    network = copy.deepcopy(_meta())
    for _ in fine_tune(space(), network, splits(), FINE_TUNE, seed=1, compute=CPU, on_progress=seen.append):
        pass
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == seen[-1].total
    assert [p.row.layer for p in seen if p.row] == ["1", "2", "3"]


def test_cropped_candidates_start_from_the_block_they_replace() -> None:
    network = _meta()
    blocks = cropped(space().layers[0], network.parts()[1], CPU)
    assert [isinstance(block, Block) for block in blocks] == [True] * 4
    close(blocks[3], network.parts()[1], 0, 0)
    assert blocks[0].get_submodule("depthwise.conv").weight.shape == (12, 1, 3, 3)
