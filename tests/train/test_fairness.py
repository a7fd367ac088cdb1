"""Strict fairness over a whole supernet: one update a candidate and step, and networks inherit from it."""
# ruff: noqa: E402

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import CPU, LABELS, META, one_thread, space, splits
from torch import Tensor, nn

from ponas_deploy.errors import PonasError
from ponas_deploy.files.weights import write_weights
from searchspace import Architecture, Candidate, Layer, Space
from searchspace.ops import Dropout
from searchspace.weights import inherit
from train.compute import generator
from train.networks import Network, initialise, load_arrays, to_arrays
from train.networks.paths import PathSupernet
from train.progress import TrainingProgress
from train.settings import MetaSettings
from train.stages import (
    crop_from,
    evaluate,
    fair_supernet,
    inherited_weights,
    meta_architecture,
    train_fair,
    train_meta,
)
from train.stages.single_path import smoothed


@pytest.fixture(autouse=True)
def _steady() -> Iterator[None]:
    with one_thread():
        yield


@cache
def _meta() -> Network:
    return train_meta(space(), splits(), replace(META, epochs=20), seed=1, compute=CPU)[0]


def untrained(seed: int = 3) -> PathSupernet:
    """Without dropout, and with bodies of residuals that have a say."""
    plain = space()
    supernet = fair_supernet(
        replace(plain, head=tuple(op for op in plain.head if not isinstance(op, Dropout)))
    )
    initialise(supernet, generator(seed, "weights"))
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator(seed, "norms"))
    return supernet


def trained(settings: MetaSettings = META, meta: Network | None = None, **more: object) -> PathSupernet:
    return train_fair(space(), splits(), settings, seed=1, compute=CPU, meta=meta, **more)[0]  # type: ignore[arg-type]


def candidates(supernet: PathSupernet) -> dict[tuple[str, str], nn.Module]:
    return {
        (layer, label): block
        for layer, blocks in supernet.layers.items()
        for label, block in blocks.items()  # type: ignore[operator]
    }


def equal(mine: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in mine.state_dict().items())


def weights_of(block: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in block.parameters()]


def watched(supernet: PathSupernet) -> list[tuple[str, str]]:
    """The candidates in the order in which images go through them from now on."""
    seen: list[tuple[str, str]] = []
    for key, block in candidates(supernet).items():
        block.register_forward_hook(lambda *_, key=key: seen.append(key))
    return seen


def paths_of(seen: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    return [tuple(label for _, label in seen[start : start + 3]) for start in range(0, len(seen), 3)]


def test_every_candidate_gets_exactly_one_update_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from outside: what images go through between two steps, and what changes with each."""
    supernet = untrained()
    monkeypatch.setattr("train.stages.fairness.fair_supernet", lambda _: supernet)
    monkeypatch.setattr("train.stages.fairness.initialise", lambda *_: None)
    seen = watched(supernet)
    blocks = candidates(supernet)
    before = {key: weights_of(block) for key, block in blocks.items()}
    drawn: list[tuple[str, ...]] = []

    def after_step(progress: TrainingProgress) -> None:
        if progress.milestone:
            seen.clear()  # the evaluation after an epoch
            return
        steps = seen[-12:]
        assert Counter(steps) == Counter(blocks.keys())
        drawn.extend(paths_of(steps))
        for key, block in blocks.items():
            after = weights_of(block)
            assert not any(torch.equal(*pair) for pair in zip(before[key], after, strict=True)), key
            before[key] = after

    trained(replace(META, epochs=2), on_progress=after_step)
    assert len(drawn) == 2 * (70 // 16) * 4
    assert len(set(drawn)) > 12, "the orders are drawn again at each step"


def test_gradients_are_the_sum_of_those_of_the_networks_on_the_paths() -> None:
    """The other way there: plain networks with inherited weights, one by one."""
    supernet = untrained().train()
    images, labels = next(splits().train.batches(16))
    seen = watched(supernet)
    tensors = to_arrays(supernet.state_dict())
    smoothed(0.0)(supernet(images), labels, images).backward()
    expected: dict[str, Tensor] = {}
    for path in paths_of(seen):
        network = Network(Architecture(supernet.space, path))
        load_arrays(network, inherit(tensors, network.architecture))
        nn.functional.cross_entropy(network.train()(images), labels).backward()
        chosen = dict(zip(("layers.1.", "layers.2.", "layers.3."), path, strict=True))
        for name, parameter in network.named_parameters():
            prefix = name[:9]
            place = f"{prefix}{chosen[prefix]}.{name[9:]}" if prefix in chosen else name
            assert parameter.grad is not None
            expected[place] = expected.get(place, torch.zeros(())) + parameter.grad
    assert expected.keys() == dict(supernet.named_parameters()).keys()
    for name, parameter in supernet.named_parameters():
        assert expected[name].abs().max() > 0, name
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_networks_inherit_from_it_and_know_more_than_chance(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    write_weights(weights, to_arrays(trained(replace(META, epochs=24)).state_dict()), {"layout": "supernet"})
    for label in LABELS:
        architecture = Architecture(space(), (label,) * 3)
        network = Network(architecture)
        load_arrays(network, inherited_weights(architecture, weights, splits(), batch=16, device="cpu"))
        assert evaluate(network, splits().validation, CPU).top1_pct > 60, label


def test_in_evaluation_it_is_its_largest_network() -> None:
    supernet = trained()
    network = Network(meta_architecture(space()))
    load_arrays(network, inherit(to_arrays(supernet.state_dict()), network.architecture))
    mine, other = (evaluate(module, splits().validation, CPU) for module in (supernet, network))
    assert mine == other


def test_from_a_meta_network_every_candidate_is_cropped() -> None:
    meta = _meta()
    supernet = fair_supernet(space())
    crop_from(supernet, meta, CPU)
    assert evaluate(supernet, splits().validation, CPU) == evaluate(meta, splits().validation, CPU)
    small = candidates(supernet)["2", "k3e3"].get_submodule("depthwise.conv").weight
    large = meta.layers["2"].get_submodule("depthwise.conv").weight
    torch.testing.assert_close(small, large[:24, :, 1:4, 1:4], rtol=0, atol=0)


def test_training_from_a_meta_network_leaves_that_one_alone() -> None:
    meta = copy.deepcopy(_meta())
    supernet = trained(replace(META, epochs=1), meta)
    assert equal(meta, _meta())
    assert not equal(supernet.stem, meta.stem)
    assert not equal(supernet.head, meta.head)


def test_a_broken_off_training_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    state, settings = tmp_path / "state.safetensors", replace(META, epochs=4, decay_at=(0.5,))

    class Killed(Exception):  # noqa: N818
        pass

    def kill(progress: TrainingProgress) -> None:
        if progress.done == 11:  # of 16 steps: in the middle of the third epoch
            raise Killed

    with pytest.raises(Killed):
        trained(settings, state=state, on_progress=kill)
    whole = trained(settings)
    assert equal(trained(settings, state=state), whole)
    assert not equal(trained(replace(settings, epochs=2)), whole)


def test_layers_of_different_numbers_of_candidates_are_refused() -> None:
    plain = space()
    fewer = Layer("3", tuple(Candidate(c.label, c.ops) for c in plain.layers[2].candidates[:3]))
    uneven = Space("uneven", plain.stem, (*plain.layers[:2], fewer), plain.head, 16, 3)
    with pytest.raises(PonasError, match="space 'uneven' has layers of 3 to 4 candidates: strict fairness"):
        fair_supernet(uneven)
