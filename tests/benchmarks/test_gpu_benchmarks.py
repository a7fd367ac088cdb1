"""The GPU benchmarks from end to end on a device that is arithmetic: table, budgets, and the fresh look."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import networks, one, profile, train
from benchmarks.gpu.networks import Config
from ponas_deploy.backends.fake import FakeBackend
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.latency import LatencyTable
from searchspace import Architecture, Space

FAKE = Config.of("fake:fp32:1", 32)


@pytest.fixture
def small(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> Space:
    """The tiny space in place of PONAS's, of which no network was published, in rounds that never wait."""
    quick = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)
    for room in (networks, one):
        monkeypatch.setattr(room, "build_space", lambda name, resolution: tiny)
    monkeypatch.setattr(networks, "GPU_PLAN", quick)
    return tiny


def test_a_configuration_from_its_table_to_the_fresh_look(small: Space, tmp_path: Path) -> None:
    kept: list[dict[str, Any]] = []
    one.chosen(FAKE, 0.0, tmp_path, None, headroom_pct=0.5, keep=kept.append)
    assert len(kept) == 1 + one.BUDGETS, "after the table, and after each budget; no stock networks here"
    result = kept[-1]
    assert result["accuracy"] == "a stand-in from MACs, not accuracies"
    assert load_latency_table(tmp_path / result["table"]).certificate is not None
    assert not list(tmp_path.glob("*.journal"))
    assert all(pick["measured_ms"] <= pick["budget_ms"] for pick in result["picks"])
    result |= {"again": one.remeasured(FAKE, result["picks"]), "errors": []}
    assert profile._brief(result)["met_again"] == one.BUDGETS
    missed = {**result["picks"][0], "choices": (), "tries": 5}
    failed = {"config": "fake:fp64:1", "errors": ["choose ended with 1: no such precision"]}
    said = profile._table([{**result, "picks": [missed, *result["picks"][1:]]}, failed])
    assert "fp64:1             failed: choose ended with 1: no such precision" in said
    assert "not met, 5 tries" in said
    assert f"{one.BUDGETS}/{one.BUDGETS}" in said


def test_networks_that_are_measured_again_are_those_published_of_their_own_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "GPU_PLAN", Plan(max_rounds=4, pause_s=0.0, retakes=0, redone_pct=0))
    again = one.remeasured(FAKE, [])
    assert set(again["median_ms"]) >= {"PONAS-A", "PONAS-B", "PONAS-C"}
    assert not [name for name in again["median_ms"] if name.startswith("SPOS")]


def test_networks_that_were_compiled_ahead_are_those_that_are_profiled(small: Space, tmp_path: Path) -> None:
    backend = FakeBackend()
    texts = one.fix_networks(FAKE, backend, small, tmp_path / f"{FAKE.file_name}.journal", seed=0)
    table = one.make_table(FAKE, backend, small, 0.0, tmp_path)
    assert timed(table) == {tuple(text.split(",")) for text in texts}


def timed(table: LatencyTable) -> set[tuple[str, ...]]:
    """All whole networks of a table."""
    assert table.correction is not None
    assert table.certificate is not None
    return {net.choices for net in (*table.correction.networks, *table.certificate.networks)}


def test_a_model_that_does_not_compile_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    space = one.build_space("ponas", 32)
    architecture = Architecture.from_indices(space, [0] * len(space.layers))
    assert networks.compile_ahead(FAKE, [architecture], blocks=False) > 0
    assert capsys.readouterr().out == ""
    networks.compile_ahead(Config.of("fake:int4:1", 32), [architecture], blocks=False)
    assert "failed: UnknownNameError: unknown precision of fake" in capsys.readouterr().out


def test_where_the_time_of_a_step_goes_is_read_by_the_profilers_own_names() -> None:
    """The attributes are those of the real profiler, on a GPU too; without one nothing is spent there."""
    convolution = torch.nn.Conv2d(4, 4, 3, groups=4)

    def step() -> None:
        convolution(torch.ones(1, 4, 8, 8))

    on_cpu = train.shares(step, "cpu")
    assert on_cpu["depthwise convolutions"] > 0
    assert sum(on_cpu.values()) == pytest.approx(100, abs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU to profile
        on_gpu = train.shares(step, "cuda")
    assert on_gpu.keys() == on_cpu.keys()
