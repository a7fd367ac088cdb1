"""How a latency table was measured, or fitted: what its reader needs to know to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ponas_deploy.files.bounds import AboveZero, AtLeastZero, Count, Positive, Seed
from ponas_deploy.tables.rounds import InterferenceSummary, LaunchSummary


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """What building the models took: all of them, and lately a block and a network, in seconds.

    `estimate` is the first one that was told, in words.
    """

    total_s: AtLeastZero
    block_s: AtLeastZero | None = None
    network_s: AtLeastZero | None = None
    estimate: str = ""


@dataclass(frozen=True, slots=True)
class PriorSummary:
    """The table of another device that a table was made from, and on how many networks it was fitted here.

    `conditions` and `mean_error_pct` are the prior's own. `finding` says why it was no help; empty where it
    was. `mixed` are the shares, by name, of all tables that were mixed into one prior, where that predicted
    the networks of here better than one of them did.
    """

    name: str
    sha256: str
    networks: Positive
    conditions: str = ""
    mean_error_pct: float | None = None
    finding: str = ""
    mixed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldOutLatencies:
    """Networks that a fold of a fit had no part in: what its table predicted, and what was measured."""

    predicted_ms: tuple[AboveZero, ...]
    measured_ms: tuple[AboveZero, ...]

    def __post_init__(self) -> None:
        counts = len(self.predicted_ms), len(self.measured_ms)
        if counts[0] != counts[1]:
            raise ValueError(f"has {counts[0]} predictions and {counts[1]} measurements, expected as many.")


@dataclass(frozen=True, slots=True)
class FitSummary:
    """What `ponas table fit` found in the whole networks that a table was fitted to, `file` names.

    `tau` is the cross-validated rank correlation with its 95 % interval, `mean_error_pct`,
    `median_error_pct` and `p95_error_pct` are the errors of held-out networks, which `held_out` lists.
    `identified`, `additive` and `drift` are what `ponas table fit --json` says. What older versions did not
    write is None.
    """

    method: str
    networks: Positive
    file: str
    model: str
    ridge: float
    tau: float
    tau_low: float
    tau_high: float
    mean_error_pct: float
    identified: bool
    additive: bool
    drift: bool
    median_error_pct: float | None = None
    p95_error_pct: float | None = None
    held_out: HeldOutLatencies | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EstimateSummary:
    """Where the values of a table come from that nobody measured: a board's published figures.

    Estimates of devices that were measured, and had no part in making the estimates, are off by
    `median_factor` in the median and by `worst_factor` at worst; `checked_on` says which. Values were
    multiplied with `scale`, which comes from what `scaled_by` names; empty where nothing was measured.
    """

    board: str
    source: str
    median_factor: AboveZero
    worst_factor: AboveZero
    checked_on: str
    scale: AboveZero = 1.0
    scaled_by: str = ""

    @property
    def text(self) -> str:
        """One line for people: that nobody measured this, and how far it may be off."""
        scaled = f", scaled by {self.scale:.3g}, from {self.scaled_by}" if self.scaled_by else ""
        return (
            f"estimated, not measured: +-{self.worst_factor:.3g} times ({self.median_factor:.3g} in the"
            f" median, by {self.checked_on}), from the published figures of {self.board}{scaled}"
        )


@dataclass(frozen=True, slots=True)
class MeasurementProtocol:
    """How a latency table was measured; what nobody recorded is empty or None.

    `plan` holds the numbers of `measuring.Plan`; `rounds` those of each wave of networks; `stopped_by` is
    "settled", "rounds" or "time". `at_start` and `at_end` are the machine's conditions by name, `journal`
    what was found of an earlier measurement, `restarted_because` what ended the processes before,
    `extended_s` the seconds beyond the time that was given in which disturbed rounds were taken again.
    `estimate` is there where nothing was measured at all. `other` is what older versions wrote that has no
    field here.
    """

    plan: Mapping[str, float] = field(default_factory=dict)
    seed: Seed | None = None
    weights: str = ""
    rounds: tuple[Count, ...] = ()
    stopped_by: str = ""
    redone_visits: Count | None = None
    builds: BuildSummary | None = None
    launches: LaunchSummary | None = None
    not_captured: str = ""
    at_start: Mapping[str, str] = field(default_factory=dict)
    at_end: Mapping[str, str] = field(default_factory=dict)
    interference: InterferenceSummary | None = None
    journal: str = ""
    restarted_because: str = ""
    extended_s: AtLeastZero = 0.0
    prior: PriorSummary | None = None
    estimate: EstimateSummary | None = None
    fit: FitSummary | None = None
    other: Mapping[str, str] = field(default_factory=dict)
