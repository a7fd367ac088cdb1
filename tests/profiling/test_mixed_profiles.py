"""A profile over blocks times precisions: both in one profile, certified on whole networks of both."""

from __future__ import annotations

import pytest

from conftest import tiny_space
from ponas_deploy.backends import RunSettings
from ponas_deploy.errors import PonasError
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.mixed import all_with_precisions, with_precisions
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.target import Target
from searchspace import SPACES
from searchspace.mixed import is_int8, mixed, plain_label, precisions

REAL = Plan(sample_ns=50_000, min_rounds=8, floor_rounds=8, max_rounds=8)


@pytest.fixture(autouse=True)
def _tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", tiny_space)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_both_precisions_of_a_cell_are_in_one_table_with_its_certificate(runtime: str) -> None:
    space = mixed(tiny_space())
    table = profile(space, runtime, RunSettings("mixed", 1), plan=REAL, time_budget_s=60)
    assert table.conditions
    assert (table.conditions.precision, table.grid.candidates) == ("mixed", space.labels)
    rounds = dict(table.measurements)
    for layer in space.cells():
        for cell in layer:
            assert len(rounds[cell.key].rounds_ns) == 8
    assert all(value > 0 for row in table.grid.values for value in row)
    assert table.correction
    assert table.certificate
    for part in (table.correction, table.certificate):
        mixtures = [precisions(network.choices) for network in part.networks]
        assert {"fp32", "int8"} <= {one for mixture in mixtures for one in mixture}
        assert any(len(set(mixture)) == 2 for mixture in mixtures), "networks of both precisions"
    fitted = {network.choices for network in table.correction.networks}
    assert fitted.isdisjoint(network.choices for network in table.certificate.networks)
    assert table.certificate.mean_error_pct > 0


def test_mixed_precision_is_another_space_and_named_alone() -> None:
    tiny = tiny_space()
    space, target = with_precisions(tiny, Target("cpu", precisions="mixed"))
    assert space == mixed(tiny)
    assert with_precisions(space, Target("cpu")) == (space, Target("cpu", precisions=("mixed",)))
    plain = Target("cpu", precisions="int8")
    assert with_precisions(tiny, plain) == (tiny, plain)
    for wrong in (("mixed", "fp32"), ("int8",)):
        with pytest.raises(PonasError, match=r"is asked for too: name --precision mixed alone, .* tiny\."):
            with_precisions(mixed(tiny), Target("cpu", precisions=wrong))
    with pytest.raises(PonasError, match="for all devices, or for none"):
        all_with_precisions([tiny], [target, Target("jetson")])


def test_labels_say_their_precision() -> None:
    assert [is_int8(one) for one in ("k3e3", "k3e3:int8", "k3e3:int8@8x16x16-0", "k3e3@8x16x16-0")] == [
        False,
        True,
        True,
        False,
    ]
    assert plain_label("k3e3:int8") == plain_label("k3e3") == "k3e3"
