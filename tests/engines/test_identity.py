"""Layers that may be absent: a candidate without operations costs nothing, from profile to engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import tiny_space
from planted_search import middle_ms, task
from ponas_deploy.backends import FakeBackend, RunSettings, get_backend
from ponas_deploy.checks.engine import verify
from ponas_deploy.checks.table_file import check_file
from ponas_deploy.commands import app
from ponas_deploy.engines.loop import meet_budget
from ponas_deploy.errors import FileFormatError
from ponas_deploy.machines.machine import this_machine
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.models import block_model, blocks_of
from ponas_deploy.profiling.precision import precision_of
from ponas_deploy.profiling.profile import profile
from ponas_deploy.tables.diff import diff_tables
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.store import StoredTable
from searchspace import SPACES, Architecture, Candidate, Space
from searchspace.cost import count_bytes, count_macs
from searchspace.description import describe
from searchspace.ops import Conv, count_params
from searchspace.weights import inherit, network_parameters, random_tensors

QUICK = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)


def absent(resolution: int = 32, classes: int = 10) -> Space:
    """The tiny space, whose second and third layer may be absent."""
    space = tiny_space(resolution, classes)
    first, *others = space.layers
    others = [replace(one, candidates=(Candidate("skip", ()), *one.candidates)) for one in others]
    return replace(space, name="absent", layers=(first, *others))


@pytest.fixture
def space(planted_clock: None, monkeypatch: pytest.MonkeyPatch) -> Space:
    monkeypatch.setitem(SPACES, "absent", absent)
    return absent()


@pytest.fixture
def table(space: Space) -> LatencyTable:
    return profile(space, FakeBackend(), plan=QUICK, device=this_machine().name)


def test_it_is_not_timed_and_costs_exactly_nothing(space: Space, table: LatencyTable, tmp_path: Path) -> None:
    write_latency_table(table, tmp_path / "table.json")
    read = load_latency_table(tmp_path / "table.json")
    assert read.isolated is not None
    for layer in (1, 2):
        assert read.grid.candidates[layer][0] == "skip"
        assert read.grid.values[layer][0] == read.isolated.values[layer][0] == 0.0
        assert read.intervals_ms[layer][0] == (0.0, 0.0)
        assert all(value > 0 for value in read.grid.values[layer][1:])
    timed = {key for key, _ in read.measurements}
    assert timed == blocks_of(space).keys()
    assert not any(key.startswith("skip") for key in timed)
    assert read.certificate is not None
    assert read.certificate.worst_error_pct < 1
    assert count_params(()) == count_bytes(()) == count_macs((), (16, 8, 8)) == 0


def test_the_table_passes_the_checks_and_can_be_compared(table: LatencyTable, tmp_path: Path) -> None:
    write_latency_table(table, tmp_path / "table.json")
    assert not [f for f in check_file(tmp_path / "table.json").findings if f.severity == "error"]
    assert not any(change.change for change in diff_tables(table, table).changes)
    assert precision_of(table)
    shown = CliRunner().invoke(app, ["table", "show", str(tmp_path / "table.json")])
    assert shown.exit_code == 0, shown.output
    assert "skip" in shown.output


def test_only_a_block_without_operations_may_cost_nothing(table: LatencyTable, tmp_path: Path) -> None:
    first, *others = table.grid.values
    values = ((0.0, *first[1:]), *others)
    write_latency_table(replace(table, grid=replace(table.grid, values=values)), tmp_path / "table.json")
    with pytest.raises(FileFormatError, match="layer '1' candidate 'k3e3': latency_ms is 0"):
        load_latency_table(tmp_path / "table.json")


def test_it_is_chosen_emitted_and_verified(space: Space, table: LatencyTable, tmp_path: Path) -> None:
    write_latency_table(table, tmp_path / "table.json")
    stored = StoredTable(tmp_path / "table.json", table)
    shortest = ("k3e3", "skip", "skip")
    done = meet_budget(task(space, tmp_path, 1.02 * table.predict_ms(shortest), stored), tmp_path / "engine")
    assert done.manifest.choices[1:] == ("skip", "skip")
    assert verify(tmp_path / "engine").passed
    roomy = meet_budget(task(space, tmp_path, middle_ms(space), stored), tmp_path / "roomy")
    assert roomy.chosen.choice.predicted_loss_pp < done.chosen.choice.predicted_loss_pp


def test_it_is_described_with_nothing_in_it(space: Space) -> None:
    part = describe(Architecture(space, ("k3e3", "skip", "k3e3"))).parts[2]
    assert (part.candidate, part.params, part.macs, part.bytes, part.stride) == ("skip", 0, 0, 0, 1)


def test_a_model_of_it_alone_gives_back_its_input(images: np.ndarray) -> None:
    with get_backend("onnxruntime").load(block_model("skip", ((), (3, 32, 32)), 2), RunSettings()) as session:
        assert np.array_equal(session.run(images), images)


@pytest.mark.parametrize("choices", [("k3e3", "skip", "skip"), ("k3e3", "k3e3", "skip")])
def test_a_network_of_absent_layers_inherits_from_a_supernet(space: Space, choices: tuple[str, ...]) -> None:
    network = Architecture(space, choices)
    tensors = random_tensors(network_parameters(network), seed=0)
    supernet = {
        name.replace("layers.1.", "layers.1.k3e3.").replace("layers.2.", "layers.2.k3e3."): value
        for name, value in tensors.items()
    }
    for given in (tensors, supernet):
        found = inherit(given, network)
        assert found.keys() == tensors.keys()
        assert all(found[name] is tensors[name] for name in tensors)


def test_an_operation_may_be_called_like_a_candidate(space: Space) -> None:
    """`layers.1.conv.conv.weight` is of a network, `layers.1.conv.conv.conv.weight` of a supernet."""
    blocks = (
        Candidate("conv", (Conv("conv", 8, 16, stride=2),)),
        Candidate("none", (Conv("x", 8, 16, stride=2),)),
    )
    named = replace(space, layers=(replace(space.layers[0], candidates=blocks), *space.layers[1:]))
    network = Architecture(named, ("conv", "skip", "skip"))
    tensors = random_tensors(network_parameters(network), seed=0)
    supernet = {name.replace("layers.1.", "layers.1.conv."): value for name, value in tensors.items()}
    assert inherit(tensors, network).keys() == inherit(supernet, network).keys() == tensors.keys()


def test_everything_may_be_absent(space: Space) -> None:
    always = Candidate("skip", ()), *space.layers[1].candidates[1:]
    layers = tuple(replace(layer, candidates=always) for layer in space.layers[1:])
    shorter = replace(space, stem=(Conv("conv", 3, 16, kernel=3, stride=2),), layers=layers)
    network = Architecture(shorter, ("skip", "skip"))
    full = Architecture(shorter, ("k3e3", "k3e3"))
    tensors = random_tensors(network_parameters(full), seed=0)
    supernet = {
        name.replace("layers.2.", "layers.2.k3e3.").replace("layers.3.", "layers.3.k3e3."): value
        for name, value in tensors.items()
    }
    wanted = {parameter.name for parameter in network_parameters(network)}
    assert inherit(supernet, network).keys() == wanted
