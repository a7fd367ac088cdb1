"""Specialised networks against stock networks and one's own models: built, then timed in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from time import monotonic

from ponas_deploy.backends import MIXED
from ponas_deploy.backends.progress import OnBuildProgress
from ponas_deploy.engines.building import build_model
from ponas_deploy.engines.compared import Comparison, Entry, compared
from ponas_deploy.engines.interleaved import SECONDS, Interleaved, time_interleaved
from ponas_deploy.engines.losses import Losses
from ponas_deploy.engines.onnx_costs import model_costs
from ponas_deploy.engines.stock import stock_networks
from ponas_deploy.engines.to_compare import (
    Asked,
    Model,
    chosen_models,
    each_resolution,
    given_models,
    stock_networks_of,
    warnings_of_spaces,
)
from ponas_deploy.errors import BackendError, PonasError
from ponas_deploy.files.notes import OnNote, OpenBar, no_bar, no_note
from ponas_deploy.files.scratch import Scratch
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.places import conditions_at, for_engines, reached
from ponas_deploy.profiling.progress import (
    DONE,
    LEFT_OUT,
    WAITING,
    OnProgress,
    ProfilingProgress,
    at_stage,
    of_runtime,
    unfinished,
)
from ponas_deploy.profiling.target import Target
from ponas_deploy.search.costs import LATENCY, Amount, limits_of
from ponas_deploy.tables import store
from ponas_deploy.tables.latency import Conditions
from searchspace.mixed import is_mixed
from searchspace.space import Space

BUDGETS = 5
TABLE_SECONDS = 60.0
"""Seconds that a latency table that is missing may take."""
_BUILD_S = 2.0
"""A guess at what an engine takes to build, until one was built."""


def compare_networks(
    space: Space,
    target: Target,
    *,
    budgets: int = BUDGETS,
    latencies: Sequence[Amount] = (),
    networks: Mapping[str, Sequence[str]] | None = None,
    stock: Sequence[str] | None = None,
    models: Mapping[Path | str, float | None] | None = None,
    sizes: Mapping[str, int] | None = None,
    published: Sequence[str] = (),
    resolutions: Sequence[int] | str | None = None,
    losses: Losses | Sequence[Losses] | None = None,
    seconds: float = SECONDS,
    table_seconds: float = TABLE_SECONDS,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
    on_build: OnBuildProgress | None = None,
    open_bar: OpenBar = no_bar,
) -> tuple[Comparison, ...]:
    """Measure specialised networks beside stock networks and models of one's own, in the same rounds.

    Args:
        space: what the specialised networks are of, at its resolution in pixels and number of classes.
        target: this machine or a board with runtimes, precisions, threads and batch; a runtime that is named
            without a precision runs at its first one.
        budgets: the best networks within so many budgets over the range of the device's front are compared;
            0 for none.
        latencies: budgets in their place, in milliseconds or as texts such as "5ms" and "60%".
        networks: networks of the space that are compared besides: a label a layer, by any name.
        stock: names of stock networks; None for all of them, none of them or "none" for none.
        models: ONNX files with their ImageNet top-1 in percent, None where it is not known.
        sizes: sizes that the models' inputs leave open, by their names or by `input:axis`.
        published: names of published networks, such as "MobileNetV3-Large" (`searchspace.zoo`), each of which
            is compared at the resolution of its top-1.
        resolutions: sides of the input in pixels at which the space is searched, or "auto" for those that
            make sense; None for the space's.
        losses: accuracy table of the space, in percentage points of top-1; None for the space's own. Of
            several resolutions a table of each, or one that says what other resolutions lose.
        seconds: of timing in a runtime, all processes together; building comes on top.
        table_seconds: what latency tables that are missing may take in a runtime.
        on_note, on_progress, on_build: called with lines for people, with how far measuring is, and with how
            far a build is. open_bar: opens a bar for the building of the stock networks.

    Returns: one comparison for each runtime and precision: latencies in milliseconds, the front of all, and
    what specialising gains at each budget. Of several runtimes one that fails is
    left out, which the others say (`left_out`).

    Raises: PonasError for a target that cannot be reached or nothing to compare, FileFormatError for a file
    that is no ONNX model, ArchitectureError for labels of another space, UnknownNameError for names that
    nobody knows, BudgetError for a budget below the fastest network, BackendError when a runtime fails,
    MeasurementError when somebody else is measuring.
    """
    asked = Asked(
        space,
        stock_networks(stock),
        {Path(path): top1_pct for path, top1_pct in (models or {}).items()},
        networks or {},
        budgets,
        [limits_of({LATENCY.name: one})[LATENCY.name] for one in latencies],
        resolutions,
        losses,
        sizes or {},
        published,
    )
    if MIXED in target.precisions:
        _refuse_plain(asked)
    with reached(target, "comparison", on_note) as place:
        return _compared(
            asked, target, place, seconds, table_seconds, on_note, on_progress, on_build, open_bar
        )


def _refuse_plain(asked: Asked) -> None:
    """PonasError for networks that do not say which of their layers are in int8, before any is measured."""
    plain = [*(["stock networks"] if asked.stock else []), *asked.published]
    if (asked.chooses or asked.networks) and not is_mixed(asked.space.name):
        plain.append(f"networks of space {asked.space.name}")
    if plain:
        raise PonasError(
            "mixed precision is for networks that say which of their layers are in int8, and"
            f" {' and '.join(plain)} do not: compare in another --precision. `ponas specialize --precision"
            " mixed` finds such networks, and --stock none --budgets 0 --onnx ENGINE/model.onnx compares its"
            " engines."
        )


def _compared(
    asked: Asked,
    target: Target,
    place: Place,
    seconds: float,
    table_seconds: float,
    on_note: OnNote,
    on_progress: OnProgress | None,
    on_build: OnBuildProgress | None,
    open_bar: OpenBar,
) -> tuple[Comparison, ...]:
    target = for_engines(place, target, on_note)
    wanted = conditions_at(place, target)
    each = each_resolution(asked, target, on_note)
    given, found, failed = given_models(asked, each, target.batch), list[Comparison](), list[PonasError]()
    left_out = list[str]()

    def leave_out(text: str) -> None:
        left_out.append(text)
        on_note(text)

    stock_once = cache(partial(stock_networks_of, asked, target.batch, leave_out, open_bar))
    reports = {conditions: of_runtime(conditions, 0, on_progress) for conditions in wanted}
    for report in reports.values():
        report(at_stage(WAITING))
    for conditions, report in reports.items():
        start = monotonic()
        try:
            chosen, warnings = chosen_models(
                asked, each, conditions, table_seconds, place, on_note, unfinished(report)
            )
            every = [*given, *stock_once(), *chosen]
            entries, timing, refused = _timed(every, conditions, place, seconds, on_note, report, on_build)
        except PonasError as error:
            report(at_stage(LEFT_OUT, str(error)))
            if len(wanted) == 1:
                raise
            failed.append(error)
            leave_out(f"{conditions.text} is left out: {error}")
            continue
        count = f"{len(entries)} network{'s' * (len(entries) > 1)}"
        report(at_stage(DONE, f"{count} timed", took_s=monotonic() - start))
        said = dict.fromkeys((*warnings_of_spaces(each), *warnings))
        found.append(compared(entries, timing, conditions, said, refused))
    if not found:
        raise failed[0]
    return tuple(replace(one, left_out=(*one.left_out, *left_out)) for one in found)


def _timed(
    models: Sequence[Model],
    conditions: Conditions,
    place: Place,
    seconds: float,
    on_note: OnNote,
    on_progress: OnProgress,
    on_build: OnBuildProgress | None,
) -> tuple[list[Entry], Interleaved, list[str]]:
    """The entries of what could be built, what their engines took, and in sentences what was left out."""
    with Scratch() as scratch:
        engines, entries, refused = _built(
            models, conditions, place, Path(scratch), on_note, on_progress, on_build
        )
        if not engines:
            raise PonasError("there is nothing to compare: no network could be built.")
        on_note(f"timing in the same rounds ({len(engines)} to compare): {conditions.text}")
        with place.to_oneself(store.lock_path(), f"a comparison, {conditions.text}"):
            timing = time_interleaved(engines, conditions, seconds, on_progress, place)
        return entries, timing, refused


def _built(
    models: Sequence[Model],
    conditions: Conditions,
    place: Place,
    scratch: Path,
    on_note: OnNote,
    on_progress: OnProgress,
    on_build: OnBuildProgress | None,
) -> tuple[dict[str, Path], list[Entry], list[str]]:
    """The engines by key, the entries with their costs, and which stock networks were refused."""
    engines, entries, refused, start = dict[str, Path](), list[Entry](), list[str](), monotonic()
    for number, one in enumerate(models):
        each_s = (monotonic() - start) / number if number else _BUILD_S
        left_s = each_s * (len(models) - number)
        on_progress(ProfilingProgress("build", number, len(models), left_s, one.entry.name))
        folder, data = scratch / one.entry.key, one.load()
        folder.mkdir()
        try:
            engines[one.entry.key] = build_model(data, conditions, folder, on_build, place)
        except BackendError as error:
            if one.entry.kind != "stock":
                raise
            refused.append(f"{one.entry.name} is left out: {error}")
            on_note(refused[-1])
            continue
        costs = model_costs(data, conditions.batch)
        entries.append(replace(one.entry, params=costs.params, macs=costs.macs))
    return engines, entries, refused
