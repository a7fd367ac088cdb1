"""A table from another device's table and a few measurements here: on planted devices."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ponas_deploy.backends.fake import FakeBackend, FakeDevice
from ponas_deploy.errors import MeasurementError, TableMismatchError
from ponas_deploy.fitting.correction import LEAST_CHECK
from ponas_deploy.measuring.protocol import Plan, Samples
from ponas_deploy.profiling.models import network_bytes
from ponas_deploy.profiling.prior import MOST_CHECKS, NETWORKS, Prior, assemble_from, load_prior, with_stored
from ponas_deploy.profiling.priority import losses
from ponas_deploy.profiling.profile import profile
from ponas_deploy.profiling.sampling import choose
from ponas_deploy.tables.files import load_latency_table
from ponas_deploy.tables.grid import Grid
from ponas_deploy.tables.latency import Conditions, LatencyTable
from ponas_deploy.tables.latency_file import write_latency_table
from ponas_deploy.tables.measured_how import MeasurementProtocol
from ponas_deploy.tables.quality import quality_findings
from ponas_deploy.tables.store import SHIPPED
from searchspace import Architecture, Space, build_space
from searchspace.space import Layer

QUICK = Plan(max_rounds=10, pause_s=0.0, retakes=0, redone_pct=0)
THERE = FakeDevice(node_ns=2_000, mac_ns=0.02, run_ns=5_000)
HERE = FakeDevice(node_ns=500, mac_ns=0.09, run_ns=40_000)
"""Slower at arithmetic, quicker from node to node: no factor makes one of the other."""


@pytest.fixture
def deeper(tiny: Space) -> Space:
    """Five layers, so that there are networks enough."""
    last = tiny.layers[-1].candidates
    return replace(tiny, layers=(*tiny.layers, Layer("4", last), Layer("5", last)))


def measured(space: Space, fake: FakeDevice, **more: object) -> LatencyTable:
    options: dict[str, object] = {"plan": QUICK, **more}
    return profile(space, FakeBackend(fake), **options)  # type: ignore[arg-type]


def prior_of(space: Space, networks: int = NETWORKS, name: str = "there/table") -> Prior:
    return Prior(name, "ab" * 32, measured(space, THERE, device="there"), networks)


def errors_pct(table: LatencyTable, space: Space, fake: FakeDevice) -> list[float]:
    """How far the table is from the device itself, over networks that nobody chose."""
    rng, found = random.Random(7), []
    for _ in range(40):
        architecture = Architecture(space, tuple(rng.choice(labels) for labels in space.labels))
        with FakeBackend(fake).load(network_bytes(architecture, 1), _settings()) as session:
            found.append(100 * abs(table.predict_ms(architecture.choices) / session.true_ns * 1e6 - 1))
    return found


def _settings() -> object:
    from ponas_deploy.backends import RunSettings

    return RunSettings()


@pytest.mark.parametrize("networks", [10, 24])
def test_a_few_networks_turn_another_devices_table_into_this_ones(deeper: Space, networks: int) -> None:
    table = measured(deeper, HERE, device="here", prior=prior_of(deeper, networks))
    proof, correction = table.certificate, table.correction
    assert proof is not None
    assert correction is not None
    assert len(correction.networks) == networks
    assert LEAST_CHECK <= len(proof.networks) <= MOST_CHECKS
    assert {net.choices for net in proof.networks}.isdisjoint(net.choices for net in correction.networks)
    assert proof.isolated_mean_error_pct > 20, "the prior by itself is of another device"
    assert proof.mean_error_pct < 2.5
    assert np.mean(errors_pct(table, deeper, HERE)) < 2.5
    assert np.mean(errors_pct(table, deeper, HERE)) < proof.error_bound_pct, "the certificate is honest"


def test_where_it_comes_from_stands_in_the_table_and_survives_a_file(deeper: Space, tmp_path: Path) -> None:
    there = measured(deeper, THERE, device="there")
    write_latency_table(there, tmp_path / "there" / "table.json")
    prior = load_prior(tmp_path / "there" / "table.json", 12)
    write_latency_table(measured(deeper, HERE, device="here", prior=prior), tmp_path / "here.json")
    table = load_latency_table(tmp_path / "here.json")
    used = table.protocol.prior
    assert used is not None
    assert (used.name, used.sha256, used.networks) == ("there/table", prior.sha256, 12)
    assert used.conditions == "there, fake fp32, 1 thread, batch 1"
    assert table.conditions is not None
    assert table.conditions.device == "here"
    assert (table.measurements, table.intervals_ms, table.isolated) == ((), (), None), "no cell was timed"
    assert table.correction is not None
    assert table.correction.method.endswith("on a prior")
    assert {"prior_tau", "cross_validated_pct", "macs_cross_validated_pct"} <= {
        *dict(table.correction.parameters)
    }


def test_no_cell_is_built(deeper: Space) -> None:
    steps: list[str] = []
    measured(deeper, HERE, device="here", prior=prior_of(deeper), on_step=steps.append, time_budget_s=0.0)
    assert steps
    assert not [step for step in steps if "block" in step]
    assert len({step for step in steps if step.startswith("building")}) <= 1 + NETWORKS + LEAST_CHECK


# --- a prior that is none


def shuffled(prior: Prior, seed: int = 0) -> Prior:
    """The same prior with the candidates of every layer in disorder."""
    rng, grid = np.random.default_rng(seed), prior.table.grid
    values = tuple(tuple(float(value) for value in rng.permutation(row)) for row in grid.values)
    return replace(prior, table=replace(prior.table, grid=replace(grid, values=values)))


def reversed_(prior: Prior) -> Prior:
    """What is fast there is slow here."""
    grid = prior.table.grid
    values = tuple(tuple(max(row) + min(row) - value for value in row) for row in grid.values)
    return replace(prior, table=replace(prior.table, grid=replace(grid, values=values)))


def test_a_prior_that_says_nothing_is_refused_or_doubted(deeper: Space) -> None:
    told = []
    for wrong in (
        reversed_(prior_of(deeper, 12)),
        *(shuffled(prior_of(deeper, 12), seed) for seed in range(3)),
    ):
        try:
            table = measured(deeper, HERE, device="here", prior=wrong)
        except MeasurementError as error:
            told.append(str(error))
        else:
            told += [finding.message for finding in quality_findings(table) if "prior" in finding.message]
    assert len(told) == 4
    assert all("the prior there/table" in text for text in told), told


@pytest.mark.parametrize("seed", [0, 1])
def test_a_machine_of_which_sums_tell_nothing_is_refused(deeper: Space, seed: int) -> None:
    wild = replace(HERE, interference_pct=75, seed=seed)
    with pytest.raises(
        MeasurementError,
        match=r"the prior there/table (is no help here|says too little about this).* Profile without",
    ):
        measured(deeper, wild, device="here", prior=prior_of(deeper))


def test_of_a_noisy_machine_the_certificate_speaks(deeper: Space) -> None:
    table = measured(deeper, replace(HERE, noise_pct=60), device="here", prior=prior_of(deeper))
    assert table.certificate is not None
    assert table.certificate.noise_floor_pct > 5
    assert any("noise floor" in finding.message for finding in quality_findings(table))


def test_a_device_on_which_macs_are_all_needs_no_prior(deeper: Space) -> None:
    table = measured(deeper, replace(HERE, node_ns=0), device="here", prior=prior_of(deeper))
    (told,) = (finding.message for finding in quality_findings(table) if "prior" in finding.message)
    assert "was no help: with it networks are predicted to" in told
    assert "from MACs alone to" in told


# --- real tables, planted measurements


def planted(prior: Prior, truth: LatencyTable, noise: float = 0.005) -> LatencyTable:
    """The table that comes of a prior on a machine of which another table is the truth."""
    space, rng = build_space("ponas"), np.random.default_rng(3)
    costs, least = prior.grid(space).arrays(), prior.networks
    networks = choose(
        space, costs, losses(space, None), least + MOST_CHECKS, 0, least_fit=least, least_check=MOST_CHECKS
    )
    samples = Samples()
    for number in range(10):
        for text in rng.permutation([*networks.fit, *networks.check]):
            ns = 1e6 * truth.predict_ms(str(text).split(",")) * (1 + noise * rng.standard_normal())
            samples.add(str(text), number, 1, ns)
    conditions = Conditions("here", "onnxruntime", "fp32", 1, 1)
    return assemble_from(
        prior, space, conditions, samples, networks, environment=(), protocol=MeasurementProtocol()
    )


def shipped(name: str) -> Path:
    return next((SHIPPED / "latency" / "amd-epyc-2c").glob(f"{name}*"))


def errors_of_random_pct(table: LatencyTable, truth: LatencyTable) -> float:
    rng = random.Random(1)
    drawn = [[rng.choice(labels) for labels in truth.grid.candidates] for _ in range(500)]
    return float(
        np.mean([abs(100 * (table.predict_ms(some) / truth.predict_ms(some) - 1)) for some in drawn])
    )


def test_another_runtimes_table_is_fitted_and_its_certificate_is_honest() -> None:
    truth = load_latency_table(shipped("onnxruntime-fp32"))
    made = {count: planted(load_prior(shipped("openvino-bf16"), count), truth) for count in (12, 24, 48)}
    errors = {count: errors_of_random_pct(table, truth) for count, table in made.items()}
    assert errors[48] < errors[24] < errors[12] < 2.2
    for count, table in made.items():
        proof = table.certificate
        assert proof is not None
        assert proof.isolated_mean_error_pct > 25, "by itself it is another runtime's"
        assert proof.kendall_tau > 0.9
        assert errors[count] < proof.error_bound_pct, "the certificate is honest"


@pytest.mark.parametrize("seed", range(3))
def test_a_real_table_in_disorder_is_refused_or_doubted(seed: int) -> None:
    truth = load_latency_table(shipped("onnxruntime-fp32"))
    wrong = shuffled(load_prior(shipped("openvino-bf16"), 16), seed)
    try:
        made = planted(wrong, truth)
    except MeasurementError as error:
        said = str(error)
    else:
        said = " ".join(
            finding.message for finding in quality_findings(made) if finding.severity == "warning"
        )
    assert "the prior amd-epyc-2c/openvino-bf16" in said
    assert "no help" in said or "too little" in said


def test_a_prior_must_be_of_this_space_and_of_other_conditions(deeper: Space, tiny: Space) -> None:
    prior = prior_of(deeper)
    with pytest.raises(
        TableMismatchError, match=r"the prior there/table is of space 'tiny' \(.*take a table of"
    ):
        measured(tiny, HERE, device="here", prior=prior)
    with pytest.raises(TableMismatchError, match=r"these very conditions .there, fake fp32.* recheck"):
        measured(deeper, HERE, device="there", prior=prior)
    unnamed = replace(prior, table=LatencyTable(Grid(("x",), (("a",),), ((1.0,),))))
    with pytest.raises(TableMismatchError, match=r"layer .1. is only in space 'tiny'"):
        measured(deeper, HERE, device="here", prior=unnamed)


@pytest.mark.parametrize("networks", [9, 51])
def test_too_few_or_too_many_measurements_are_named(deeper: Space, networks: int) -> None:
    with pytest.raises(MeasurementError, match=f"{networks} measurements .* ask for 10 to 50"):
        Prior("there/table", "", LatencyTable(Grid((), (), ())), networks)


# --- interrupted, and measured further


def test_more_time_refines_it_with_the_same_prior_only(deeper: Space, tmp_path: Path) -> None:
    prior, journal = prior_of(deeper), tmp_path / "journal"
    short = measured(deeper, HERE, device="here", prior=prior, time_budget_s=0.0)
    longer = measured(deeper, HERE, device="here", prior=prior, journal=journal, further=short)
    assert (short.protocol.rounds, longer.protocol.rounds) == ((5,), (10,))
    assert short.certificate is not None
    assert longer.certificate is not None
    assert [n.choices for n in longer.certificate.networks] == [n.choices for n in short.certificate.networks]
    other = replace(prior, sha256="cd" * 32)
    elsewhere = tmp_path / "other"
    with pytest.raises(TableMismatchError, match=r"prior prior_sha256 abab.* there, cdcd.* here"):
        measured(deeper, HERE, device="here", prior=other, journal=elsewhere, further=short)
    with pytest.raises(TableMismatchError, match="another measurement"):
        measured(deeper, HERE, device="here", journal=elsewhere, further=short)


def test_its_journal_and_that_of_a_full_profile_are_not_mixed(deeper: Space, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    measured(deeper, HERE, device="here", journal=journal)
    table = measured(deeper, HERE, device="here", prior=prior_of(deeper), journal=journal)
    assert "another measurement" in table.protocol.journal
    again = measured(deeper, HERE, device="here", prior=prior_of(deeper), journal=journal)
    assert again.certificate == table.certificate


# --- several tables


def test_other_stored_tables_are_mixed_in_where_they_predict_better(deeper: Space) -> None:
    """The named prior is of another kind of device, a table that was not named is nearly this one."""
    near = measured(deeper, replace(HERE, mac_ns=0.18, run_ns=70_000), device="near")
    named = prior_of(deeper, 12)
    with pytest.raises(MeasurementError, match="the prior there/table is no help here"):
        measured(deeper, HERE, device="here", prior=shuffled(named))
    both = replace(shuffled(named), others=(("near/table", near),))
    mixed = measured(deeper, HERE, device="here", prior=both)
    assert mixed.protocol.prior is not None
    shares = dict(mixed.protocol.prior.mixed)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["near/table"] > 0.5
    assert np.mean(errors_pct(mixed, deeper, HERE)) < 2.5


def test_one_network_has_no_prior(deeper: Space) -> None:
    chain = replace(
        deeper,
        layers=tuple(replace(layer, candidates=layer.candidates[:1]) for layer in deeper.layers),
        published=(),
    )
    prior = Prior("there/table", "ab" * 32, measured(chain, THERE, device="there"))
    with pytest.raises(TableMismatchError) as refused:
        measured(chain, HERE, device="here", prior=prior)
    assert str(refused.value) == (
        f"space '{chain.name}' is one network, which a profile measures as it is: a prior is fitted on many"
        " networks of a space. Profile without --prior."
    )


def in_mode(table: LatencyTable, mode: str) -> LatencyTable:
    return replace(table, environment=(*table.environment, ("power_mode", mode)))


def test_a_table_of_another_power_mode_is_a_prior(
    deeper: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path))
    prior = prior_of(deeper)
    conditions = prior.table.conditions
    assert conditions is not None
    slow = replace(prior, table=in_mode(prior.table, "nvpmodel 1 (7W)"))
    for known, mode in ((prior, ""), (prior, "nvpmodel 0 (15W)"), (slow, ""), (slow, "nvpmodel 1 (7W)")):
        with pytest.raises(TableMismatchError, match="a table of these very conditions"):
            known.refuse_same(conditions, deeper, mode)
    slow.refuse_same(conditions, deeper, "nvpmodel 0 (15W)")
    write_latency_table(slow.table, tmp_path / "latency" / "there" / "slow.json")
    write_latency_table(
        in_mode(prior.table, "nvpmodel 2 (5W)"), tmp_path / "latency" / "there" / "slower.json"
    )
    mixed = with_stored(slow, conditions, deeper, "nvpmodel 0 (15W)")
    assert [name for name, _ in mixed.others] == ["there/slower"]
    assert with_stored(slow, conditions, deeper, "nvpmodel 2 (5W)").others == ()


def test_the_others_are_the_stored_tables_of_the_space(
    deeper: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONAS_HOME", str(tmp_path))
    space = build_space("ponas")
    files = sorted((SHIPPED / "latency").glob("*/*.json"))
    prior, here = load_prior(files[0]), load_latency_table(files[1]).conditions
    assert here is not None
    names = [name for name, _ in with_stored(prior, here, space).others]
    assert len(names) == len(files) - 2, "neither itself nor a table of what is measured"
    assert with_stored(prior, here, deeper).others == ()
