"""A supernet whose candidates share weights: what trains is what is written, and what is read from it."""
# ruff: noqa: E402

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
from tiny_elastic import SUBNETS, images, known, layer, random_network, space
from tiny_training import one_thread

from ofa_layout import Subnet, layers_of, supernet
from ponas_deploy.engines.weights_files import read_file
from ponas_deploy.errors import SpaceError, WeightsError
from ponas_deploy.files.weights import WeightsFile, read_weights, write_weights
from searchspace import Architecture, Candidate, build_space
from searchspace.elastic import ELASTIC, candidates_of
from searchspace.ops import GlobalPool, Linear
from train.networks import ElasticNetwork, Network, load_arrays
from train.stages import Opening, draw, smallest


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known(monkeypatch)
    with one_thread():
        yield


@pytest.fixture
def network() -> ElasticNetwork:
    return random_network()


def written(network: ElasticNetwork, path: Path, without: str = "nothing") -> WeightsFile:
    arrays = {name: array for name, array in network.arrays().items() if without not in name}
    write_weights(path, arrays, {"layout": ELASTIC, "space": "elastic", "classes": "3"})
    return read_weights(path)


def logits(network: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(batch)


def extracted(file: WeightsFile, architecture: Architecture) -> Network:
    found = Network(architecture)
    load_arrays(found, file.inherited(architecture))
    return found.eval()


def assert_same(found: torch.Tensor, wanted: torch.Tensor, of_largest: float = 1e-5) -> None:
    assert wanted.std() > 1e-3
    assert (found - wanted).abs().max() < of_largest * wanted.abs().max()


@pytest.mark.parametrize("labels", SUBNETS)
def test_a_subnet_of_the_file_computes_what_the_supernet_does(
    network: ElasticNetwork, tmp_path: Path, labels: str
) -> None:
    architecture = Architecture.from_text(space(), labels)
    network.activate(architecture)
    found = logits(network, images())
    assert_same(found, logits(extracted(written(network, tmp_path / "a"), architecture), images()))
    assert_same(found, logits(network.subnet(architecture).eval(), images()))


def test_a_file_without_matrices_is_loaded_with_those_that_made_its_kernels(
    network: ElasticNetwork, tmp_path: Path
) -> None:
    other = ElasticNetwork(space()).eval()
    other.load(written(network, tmp_path / "old", without=".matrix.").shared)
    for labels in SUBNETS:
        architecture = Architecture.from_text(space(), labels)
        network.activate(architecture)
        other.activate(architecture)
        assert_same(logits(other, images()), logits(network, images()))


def test_a_file_is_loaded_as_it_was_written(network: ElasticNetwork, tmp_path: Path) -> None:
    other = ElasticNetwork(space())
    other.load(written(network, tmp_path / "new").shared)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_a_file_without_a_smaller_kernel_is_refused(network: ElasticNetwork) -> None:
    lacking = {name: array for name, array in network.arrays().items() if not name.endswith(".k3")}
    with pytest.raises(WeightsError, match=r"lack 'layers.A.depthwise.conv.weight.k3'"):
        ElasticNetwork(space()).load(lacking)
    with pytest.raises(WeightsError, match=r"lack 'layers.A.depthwise.conv.weight.k3'"):
        candidates_of(lacking, space())


def test_the_authors_supernet_is_trained_further_from_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path / "home"))
    state = supernet(10)
    torch.save({"state_dict": state}, tmp_path / "ofa_w1.0")
    file = read_file(tmp_path / "ofa_w1.0")
    one = ElasticNetwork(build_space("ofa-mbv3", 64, 10)).eval()
    one.load(file.shared)
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for labels in (
        ["k7e6"] * 20,
        ["k5e4", "k3e3", "absent", "absent"] * 5,
        ["k3e4", "k5e3", "k7e6", "k3e6"] * 5,
    ):
        architecture = Architecture(one.space, tuple(labels))
        one.activate(architecture)
        found = logits(one, batch)
        assert_same(found, logits(extracted(file, architecture), batch))
        assert_same(found, Subnet(state, layers_of(",".join(labels)))(batch), 2e-4)


def test_in_training_a_narrow_subnet_takes_the_statistics_of_the_batch(network: ElasticNetwork) -> None:
    architecture = Architecture.from_text(space(), SUBNETS[2])
    alone = network.subnet(architecture).train()
    network.train().activate(architecture)
    assert_same(logits(network, images()), logits(alone, images()))
    mine, its = network.state_dict(), alone.state_dict()
    name = "layers.A.expand.norm.running_mean"
    assert torch.allclose(mine[name][:12], its[name])
    assert not torch.allclose(mine[name][:12], random_network().state_dict()[name][:12])
    assert torch.equal(mine[name][12:], random_network().state_dict()[name][12:])


def test_gradients_reach_the_shared_weights_of_the_subnet_alone(network: ElasticNetwork) -> None:
    network.train().activate(Architecture.from_text(space(), "k3e2,absent,k7e4,absent,absent"))
    network(images()).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    narrow = gradients["layers.A.expand.conv.weight"]
    assert narrow[:8].abs().sum() > 0
    assert narrow[8:].abs().sum() == 0
    assert gradients["layers.A.depthwise.conv.weight"][:8].abs().sum() > 0
    assert gradients["layers.A.depthwise.conv.matrix.5"].abs().sum() > 0
    assert gradients["layers.A.depthwise.conv.matrix.3"].abs().sum() > 0
    assert gradients["layers.B.expand.conv.weight"] is None
    assert gradients["layers.C.depthwise.conv.matrix.5"] is None


def test_a_subnet_shares_no_memory_with_the_supernet(network: ElasticNetwork) -> None:
    subnet = network.subnet(Architecture.from_text(space(), SUBNETS[0]))
    before = network.state_dict()["layers.A.project.conv.weight"].clone()
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.zero_()
    assert torch.equal(network.state_dict()["layers.A.project.conv.weight"], before)


def test_a_space_whose_layers_are_linear_shares_no_weights() -> None:
    given = space()
    head = (
        Candidate("all", (GlobalPool(), Linear("wide", 8, 8))),
        Candidate("thin", (GlobalPool(), Linear("wide", 8, 8))),
    )
    last = replace(given.layers[-1], candidates=head)
    linear = replace(given, layers=(*given.layers[:-1], last), stages=(), head=(Linear("classifier", 8, 3),))
    with pytest.raises(SpaceError, match="'wide' is a linear layer, and only convolutions"):
        ElasticNetwork(linear)


def test_what_is_drawn_is_open_and_depths_are_alike() -> None:
    given, chosen = space(), random.Random(0).randrange
    assert Opening.whole(given) == Opening(3, 3, 3)
    assert draw(given, Opening(), chosen).text == SUBNETS[0]
    drawn = [draw(given, Opening(2, 2, 1), chosen).choices for _ in range(400)]
    assert {label for choices in drawn for label in choices} == {"k7e4", "k5e4", "absent"}
    assert not any(choices[3] == "absent" for choices in drawn)
    counts = Counter(choices[4] == "absent" for choices in drawn)
    assert 150 < counts[True] < 250
    deeper = Counter(draw(given, Opening.whole(given), chosen).choices.count("absent") for _ in range(900))
    assert deeper.keys() == {0, 1, 2, 3}


def test_the_smallest_subnet_of_an_opening() -> None:
    assert smallest(space(), Opening()).text == SUBNETS[0]
    assert smallest(space(), Opening(2, 2, 1)).text == "k5e4,absent,k5e4,k5e4,absent"
    assert smallest(space(), Opening(3, 3, 3)).text == SUBNETS[1]
    assert smallest(build_space("ofa-mbv3"), Opening(9, 9, 9)).text.count("absent") == 10


def test_a_layer_without_a_choice_opens_all_the_same() -> None:
    one = layer("A", 4, 8, 2, False, False)
    given = replace(space(), layers=(replace(one, candidates=(one.largest,)), *space().layers[1:]))
    assert draw(given, Opening.whole(given), lambda _: 0).choices[0] == "k7e4"
    network = ElasticNetwork(given)
    assert np.isfinite(logits(network, images()).numpy()).all()
