"""Whether a latency table still holds: what matters most of it, measured again in seconds.

About twenty cells, those that the networks of the front spend their time in, and a few whole networks of
the front, by the same protocol as the profile; `latency_changes` compares them with the table.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ponas_deploy.backends import RunSettings
from ponas_deploy.checks.latency_changes import (
    Choices,
    Recheck,
    RecheckedCell,
    RecheckedNetwork,
    RecheckPlan,
    RecheckVerdict,
    best_choice,
    compare,
)
from ponas_deploy.checks.rounds import timed_in_rounds
from ponas_deploy.errors import TableMismatchError
from ponas_deploy.files.documents import compact
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.interference import usual_core_ns
from ponas_deploy.measuring.place import Place
from ponas_deploy.measuring.plans import plan_for
from ponas_deploy.profiling.models import block_model, blocks_of, network_bytes
from ponas_deploy.profiling.places import reached
from ponas_deploy.profiling.staleness import differences
from ponas_deploy.profiling.target import device_of
from ponas_deploy.search.pareto import front
from ponas_deploy.tables import store
from ponas_deploy.tables.accuracy import AccuracyTable
from ponas_deploy.tables.grid import SpaceKey
from ponas_deploy.tables.latency import LatencyTable
from ponas_deploy.tables.measurement import Measurement
from ponas_deploy.tables.named import as_stored
from ponas_deploy.tables.rounds import InterferenceSummary, Spread
from ponas_deploy.tables.store import StoredTable
from searchspace.architecture import Architecture
from searchspace.space import HEAD, STEM, Space
from searchspace.spaces import build_space, fingerprint_of, is_known

CELLS, NETWORKS, BUDGETS = 20, 6, 10
TIME_S = 15.0
MIN_ROUNDS, MAX_ROUNDS = 12, 24


def plan_recheck(table: LatencyTable, accuracy: AccuracyTable) -> RecheckPlan:
    """The cells that the front spends most time in, and networks spread over it."""
    if not (table.cell_keys and table.measurements):
        raise TableMismatchError("the table holds no raw rounds of cells: there is nothing to compare with.")
    found = front(table, accuracy)
    spent: dict[str, float] = defaultdict(float)
    for row in found.choices.tolist():
        for layer, index in enumerate(row):
            spent[table.cell_keys[layer][index]] += table.grid.values[layer][index]
    least, most = float(found.cost[0]), float(found.cost[-1])
    budgets = tuple(float(place) for place in least + (most - least) * (np.arange(BUDGETS) + 0.5) / BUDGETS)
    chosen = tuple(dict.fromkeys(best_choice(table, found, budget) for budget in budgets))
    places = np.unique(np.linspace(0, len(chosen) - 1, min(NETWORKS, len(chosen))).round().astype(int))
    keys = sorted((key for key in spent if spent[key]), key=lambda key: -spent[key])[:CELLS]
    return RecheckPlan(tuple(keys), tuple(chosen[place] for place in places), budgets)


def recheck(
    table: LatencyTable | StoredTable | Path | str,
    losses: AccuracyTable | None = None,
    *,
    seconds: float = TIME_S,
    seed: int = 0,
    on_note: OnNote = no_note,
) -> Recheck:
    """Measure a part of a latency table again, on its machine, and say whether it still holds.

    A table of a board of the device book is measured there, over its link.

    Args:
        table: the table, or its path or name in the store.
        losses: the accuracy table, in percentage points, whose front says which cells matter; None for the
            space's own.
        seconds: about how long it takes, building included.
        seed: of the order of measuring.
        on_note: called with lines for people.

    Returns: which cells moved (milliseconds then and now), how well networks are predicted now, and for ten
    budgets whether another network would be chosen.

    Raises: TableMismatchError for a table of another device, without raw rounds or of a space that is not
    known, UnknownNameError for a name that nobody knows, BackendError without the table's runtime,
    MeasurementError when somebody else is measuring.
    """
    stored = as_stored(table)
    target, key = device_of(stored), _known_space(stored)
    accuracy = losses or store.own_accuracy_table(key.name).table
    plan = plan_recheck(stored.table, accuracy)
    what = f"recheck of {stored.name}"
    with reached(target, what, on_note) as place:
        differ = differences(stored, place)
        for difference in differ:
            on_note(f"table {stored.name} was made {difference.text}")
        on_note(f"measuring a part of {stored.name} again, for about {seconds:.0f} s")
        with place.to_oneself(store.lock_path(), what):
            deadline = time.monotonic() + seconds
            samples, interference = _measured(stored, key, plan, deadline, seed, place)
    found = compare(stored.name, stored.table, accuracy, plan, samples)
    texts = tuple(difference.text for difference in differ)
    return replace(found, interference=interference, differences=texts)


def _known_space(stored: StoredTable) -> SpaceKey:
    key = stored.table.space
    if key is None or not is_known(key.name) or fingerprint_of(key.name) != key.fingerprint:
        raise TableMismatchError(
            f"{stored.name} is of no space that is known here, so its cells cannot be built: profile again."
        )
    return key


def _measured(
    stored: StoredTable, key: SpaceKey, plan: RecheckPlan, deadline: float, seed: int, place: Place
) -> tuple[dict[str, Measurement], InterferenceSummary | None]:
    """The cells, stem, head and networks (by their text), and the interference while they were measured."""
    conditions = stored.conditions
    protocol = replace(plan_for(conditions.backend), min_rounds=MIN_ROUNDS, max_rounds=MAX_ROUNDS)
    settings = RunSettings(conditions.precision, conditions.threads, conditions.streams)
    models = _models(build_space(key.name, key.resolution, key.classes), plan, conditions.batch)
    samples, interference = timed_in_rounds(
        place,
        conditions.backend,
        models,
        settings,
        protocol,
        sentinel=",".join(plan.networks[len(plan.networks) // 2]),
        deadline=deadline,
        seed=seed,
        known_ns=usual_core_ns(stored.table.rounds),
        retake=True,
    )
    return {name: samples.measurement(name) for name in models}, interference


def _models(space: Space, plan: RecheckPlan, batch: int) -> dict[str, bytes]:
    """The ONNX models of what is measured: cells by key, stem, head, networks by their text."""
    blocks = blocks_of(space)
    models = {name: block_model(name, blocks[name], batch, space.name) for name in (*plan.keys, STEM, HEAD)}
    for choices in plan.networks:
        models[",".join(choices)] = network_bytes(Architecture(space, choices), batch)
    return models


@dataclass(frozen=True, slots=True)
class RecheckedChoiceDocument:
    """See `RecheckedChoice`; `changed` where another network would be chosen."""

    budget_ms: float
    before: Choices
    after: Choices
    takes_ms: float
    loss_before_pp: float
    loss_after_pp: float | None
    reordered: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class RecheckDocument:
    """A table of `ponas table recheck --json`; see `Recheck`. `moved` counts cells.

    `interference` holds the figures of `InterferenceSummary` that are not zero, by name.
    """

    table: str
    holds: bool
    verdict: RecheckVerdict
    text: str
    common_pct: float
    error_pct: float
    rest_pct: float
    allowed_pct: float
    noise_pct: float
    cells: tuple[RecheckedCell, ...]
    moved: int
    networks: tuple[RecheckedNetwork, ...]
    choices: tuple[RecheckedChoiceDocument, ...]
    changed_choices: int
    reordered_choices: int
    interference: Mapping[str, int | str | Spread] | None
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RechecksDocument:
    """What `ponas table recheck --json` prints; `holds` where every table does."""

    holds: bool
    tables: tuple[RecheckDocument, ...]


def rechecks_document(found: Sequence[Recheck]) -> RechecksDocument:
    """Rechecks of several tables as `ponas table recheck --json` prints them."""
    return RechecksDocument(all(one.verdict == "holds" for one in found), tuple(map(recheck_document, found)))


def recheck_document(found: Recheck) -> RecheckDocument:
    """The recheck of one table as `ponas table recheck --json` prints it."""
    return RecheckDocument(
        table=found.name,
        holds=found.verdict == "holds",
        verdict=found.verdict,
        text=found.text,
        common_pct=found.common_pct,
        error_pct=found.error_pct,
        rest_pct=found.rest_pct,
        allowed_pct=found.allowed_pct,
        noise_pct=found.noise_pct,
        cells=found.cells,
        moved=len(found.moved),
        networks=found.networks,
        choices=tuple(RecheckedChoiceDocument(**asdict(one), changed=one.changed) for one in found.choices),
        changed_choices=found.changed,
        reordered_choices=found.reordered,
        interference=_figures(found.interference) if found.interference else None,
        differences=found.differences,
    )


def _figures(interference: InterferenceSummary) -> dict[str, int | str | Spread]:
    """What is not zero, empty or None."""
    return {name: getattr(interference, name) for name in compact(interference)}
