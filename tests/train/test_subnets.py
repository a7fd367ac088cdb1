"""Random networks of a supernet: who is drawn, and that their accuracy is that of the network alone."""
# ruff: noqa: E402

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_training import CPU, LABELS, META, SETTINGS, known, one_thread, space, splits

from ponas_deploy.errors import UnknownNameError, WeightsError
from ponas_deploy.files.weights import WeightsFile, read_weights
from searchspace import Architecture, build_space
from small_staged_spaces import every_list, is_legal, staged
from small_staged_spaces import layer as layer_of
from train.compute import Compute
from train.networks import Network, load_arrays
from train.runs import train_run
from train.stages import Supernet, evaluate, evaluate_subnets, inherited_weights, sample, side_of

EVERY = tuple(product(LABELS, repeat=3))
SEED = 5


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    with one_thread():
        yield


@cache
def _weights() -> WeightsFile:
    return read_weights(train_run(replace(SETTINGS, meta=replace(META, epochs=20)), Path(mkdtemp())).weights)


@pytest.fixture
def weights() -> WeightsFile:
    return _weights()


def supernet(weights: WeightsFile) -> Supernet:
    return Supernet(space(), weights.tensors, CPU)


def test_the_two_sides_share_no_network_and_cover_a_small_space() -> None:
    fit, certify = (list(sample(space(), side, SEED)) for side in ("fit", "certify"))
    assert sorted(fit + certify) == sorted(EVERY)
    assert len(fit) > len(certify) > 4
    assert {side_of(choices) for choices in certify} == {"certify"}
    for seed in range(3):
        assert set(sample(space(), "certify", seed)) == set(certify), "no seed moves a network over"


def test_of_a_space_with_stages_only_legal_networks_are_drawn() -> None:
    ruled = staged((3,), (layer_of("a", 1, None), layer_of("b", 2, 0), layer_of("c", 1, 1)))
    drawn = [choices for side in ("fit", "certify") for choices in sample(ruled, side, SEED)]
    every = [row for row in every_list(ruled) if is_legal(ruled, row)]
    assert sorted(drawn) == sorted(Architecture.from_indices(ruled, row).choices for row in every)


def test_every_depth_of_a_stage_is_drawn_as_often() -> None:
    """Of two layers that may be absent: both, the last alone or none, each a third of 600, within 5 sigma."""
    drawn = list(islice(sample(build_space("ofa-mbv3"), "fit", SEED), 600))
    for stage in range(5):
        absent = Counter(choices[4 * stage + 2 : 4 * stage + 4].count("absent") for choices in drawn)
        assert sorted(absent) == [0, 1, 2]
        assert all(abs(count - 200) < 5 * np.sqrt(600 * 2 / 9) for count in absent.values())


def test_a_seed_fixes_the_networks_and_their_order_however_many_are_taken() -> None:
    large = build_space("ponas")
    drawn = list(islice(sample(large, "fit", SEED), 300))
    assert drawn[:40] == list(islice(sample(large, "fit", SEED), 40))
    assert drawn[:40] != list(islice(sample(large, "fit", SEED + 1), 40))
    assert len(set(drawn)) == 300


def test_networks_are_drawn_evenly() -> None:
    """Each of 12 labels should come 1,000 / 12 times a layer; none is off by five standard deviations."""
    drawn = list(islice(sample(build_space("ponas"), "certify", SEED), 1000))
    for layer in zip(*drawn, strict=True):
        counts = Counter(layer)
        assert len(counts) == 12
        assert all(abs(count - 1000 / 12) < 5 * np.sqrt(1000 / 12) for count in counts.values())


def test_a_subnet_has_the_accuracy_of_the_network_on_its_own(weights: WeightsFile) -> None:
    """The other way there: a network with copied weights, unfolded, calibrated and evaluated alone."""
    chosen = EVERY[:64:9]
    found = evaluate_subnets(supernet(weights), chosen, splits(), CPU, SEED)
    assert len({subnet.evaluation.top1_pct for subnet in found}) > 2
    for subnet, choices in zip(found, chosen, strict=True):
        architecture = Architecture(space(), choices)
        network = Network(architecture)
        arrays = inherited_weights(architecture, weights.path, splits(), batch=64, seed=SEED, device="cpu")
        load_arrays(network, arrays)
        alone = evaluate(network, splits().validation, CPU)
        assert subnet.choices == choices
        assert subnet.evaluation.images == alone.images == 36
        assert subnet.evaluation.cross_entropy == pytest.approx(alone.cross_entropy, rel=1e-4)
        assert subnet.evaluation.top1_pct == pytest.approx(alone.top1_pct, abs=100 / 36 + 1e-9)


def test_halves_are_every_other_image(weights: WeightsFile) -> None:
    (subnet,) = evaluate_subnets(supernet(weights), [EVERY[20]], splits(), CPU, SEED)
    assert sum(subnet.halves_pct) / 2 == pytest.approx(subnet.evaluation.top1_pct)
    assert all((half * 18 / 100) % 1 == pytest.approx(0, abs=1e-9) for half in subnet.halves_pct)


def test_neither_lanes_nor_the_other_networks_change_an_accuracy(weights: WeightsFile) -> None:
    together = evaluate_subnets(
        supernet(weights), EVERY[:6], splits(), Compute(torch.device("cpu"), lanes=3), SEED
    )
    alone = supernet(weights)
    one_by_one = [evaluate_subnets(alone, [choices], splits(), CPU, SEED)[0] for choices in EVERY[:6]]
    assert list(together) == one_by_one


def test_evaluating_changes_no_weight_of_the_supernet(weights: WeightsFile) -> None:
    shared = supernet(weights)
    first = evaluate_subnets(shared, EVERY[:8], splits(), CPU, SEED)
    assert evaluate_subnets(shared, EVERY[:8], splits(), CPU, SEED) == first
    network = shared.network(EVERY[0])
    for name, tensor in network.state_dict().items():
        layer, _, rest = name.removeprefix("layers.").partition(".")
        stored = f"layers.{layer}.{LABELS[0]}.{rest}" if name.startswith("layers.") else name
        assert np.array_equal(tensor.numpy(), weights.tensors[stored]), name


def test_another_space_or_number_of_classes_is_refused_by_name(weights: WeightsFile) -> None:
    other = Supernet(space(classes=5), weights.tensors, CPU)
    with pytest.raises(WeightsError, match=r"'head.classifier.weight' has shape \(3, 16\).*\(5, 16\)"):
        other.network(EVERY[0])
    wide = Supernet(build_space("ponas", 16, 3), weights.tensors, CPU)
    with pytest.raises(WeightsError, match=r"stem.*shape.*needs"):
        wide.network(tuple(labels[0] for labels in build_space("ponas").labels))
    with pytest.raises(UnknownNameError, match="unknown candidate of layer 1 'k9e9'"):
        supernet(weights).network(("k9e9", "k3e3", "k3e3"))
