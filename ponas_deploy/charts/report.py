"""What a report shows: the charts of tables, of networks beside them, and of an engine.

A chart that cannot be made of what was given is left out, and a sentence says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby

from ponas_deploy.charts.chart import Chart
from ponas_deploy.charts.fronts import EnginePoint, front_chart
from ponas_deploy.charts.layers import predicted_layers, timed_layers
from ponas_deploy.charts.maps import latency_map, loss_map
from ponas_deploy.charts.predictions import prediction_chart
from ponas_deploy.charts.sources import Source, accuracy_source, engine_source, latency_source
from ponas_deploy.charts.stock import ComparedNetworks, beside
from ponas_deploy.charts.timed import TimedNetwork
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.to_compare import IMAGES
from ponas_deploy.errors import PonasError, TableMismatchError
from ponas_deploy.search.sides import Side, comparable, fronts_of, side_warnings, sides_of
from ponas_deploy.tables.names import short_names
from ponas_deploy.tables.store import StoredAccuracy, StoredTable, own_accuracy_table


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is asked to show."""

    latencies: Sequence[StoredTable] = ()
    accuracies: Sequence[StoredAccuracy] = ()
    compared: Sequence[ComparedNetworks] = ()
    engine: Engine | None = None
    timed: TimedNetwork | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Sources and charts; `warnings` speak against the tables, `left_out` says what is not here and why."""

    title: str
    created: str
    sources: tuple[Source, ...]
    charts: tuple[Chart, ...]
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class _Parts:
    """A report while it is put together."""

    sources: list[Source] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def report_of(asked: Asked, created: str) -> Report:
    """The report of tables, networks and an engine, at a date.

    TableMismatchError for an accuracy table that was named and does not fit; PonasError where there is
    nothing to show.
    """
    parts = _Parts()
    tables, paths = [one.table for one in asked.latencies], [one.path for one in asked.latencies]
    names = short_names(tables, paths) if tables else ()
    named = list(zip(names, asked.latencies, strict=True))
    parts.sources += [latency_source(*one) for one in named]
    _fronts(parts, named, asked)
    for place, (name, stored) in enumerate(named, start=1):
        parts.charts.append(latency_map(f"latency-{place}", name, stored.table))
    for place, (name, stored) in enumerate(named, start=1):
        chart = prediction_chart(f"predictions-{place}", name, stored.table)
        if chart is None:
            parts.left_out.append(f"Predicted against measured of {name}: no network was checked.")
        else:
            parts.charts.append(chart)
    if asked.engine:
        parts.sources.append(engine_source(asked.engine))
        parts.warnings += asked.engine.warnings
        parts.charts += _layers(parts, named, asked.engine)
    _timed(parts, asked)
    if not parts.charts:
        raise PonasError(f"there is nothing to draw: {' '.join(parts.left_out) or 'name a --latency-table.'}")
    warnings = tuple(dict.fromkeys(parts.warnings))
    return Report(
        _title(asked), created, tuple(parts.sources), tuple(parts.charts), warnings, tuple(parts.left_out)
    )


def _title(asked: Asked) -> str:
    devices = dict.fromkeys(one.table.conditions.device for one in asked.latencies if one.table.conditions)
    if asked.engine:
        devices[asked.engine.conditions.device] = None
    return f"Latency and accuracy on {', '.join(devices)}" if devices else "Latency and accuracy"


def _fronts(parts: _Parts, named: Sequence[tuple[str, StoredTable]], asked: Asked) -> None:
    """The charts of fronts and the maps of losses of each search space."""
    shown, place = dict[str, StoredAccuracy](), count(1)
    for space, group in _by_space(named):
        losses = _losses(parts, space, asked.accuracies)
        if not losses:
            continue
        for one in losses:
            shown.setdefault(str(one.path), one)
        for title, together, sides in _on_one_chart(space, group, losses):
            _front(parts, f"front-{next(place)}", space, title, together, sides, asked)
    for number, one in enumerate(shown.values(), start=1):
        parts.sources.append(accuracy_source(one.path.stem, one))
        parts.charts.append(loss_map(f"loss-{number}", one.path.stem, one.table))


def _on_one_chart(
    space: str, group: Sequence[tuple[str, StoredTable]], losses: Sequence[StoredAccuracy]
) -> Iterator[tuple[str, Sequence[tuple[str, StoredTable]], tuple[Side, ...]]]:
    """Title, tables and sides of each chart: one of all, or one a resolution where no table compares them."""
    title, accuracies = space or "the given table", [one.table for one in losses]

    def resolution(one: tuple[str, StoredTable]) -> int:
        key = one[1].table.space
        return key.resolution if key else 0

    try:
        sides = sides_of([stored.table for _, stored in group], accuracies)
    except TableMismatchError:
        if len(set(map(resolution, group))) == 1:
            raise
        for side_px, tables in groupby(sorted(group, key=resolution), resolution):
            together = list(tables)
            sides = sides_of([stored.table for _, stored in together], accuracies)
            yield f"{title} at {side_px} px", together, sides
    else:
        yield title, group, sides


def _by_space(
    named: Sequence[tuple[str, StoredTable]],
) -> Iterator[tuple[str, list[tuple[str, StoredTable]]]]:
    """Tables of one search space together; of a file that does not name one, by its layers and labels."""

    def key(one: tuple[str, StoredTable]) -> tuple[str, str]:
        table = one[1].table
        cells = "" if table.space else repr((table.grid.layers, table.grid.candidates))
        return (table.space.name if table.space else "", cells)

    for (space, _), group in groupby(sorted(named, key=key), key):
        yield space, list(group)


def _losses(parts: _Parts, space: str, given: Sequence[StoredAccuracy]) -> list[StoredAccuracy]:
    """The accuracy tables that were given for a space, else its own; none where it has none."""
    own = [one for one in given if not (space and one.table.space and one.table.space.name != space)]
    if own:
        return own
    what = f"The front of {space}" if space else "The front of a table that names no search space"
    if not space:
        parts.left_out.append(f"{what}: name its --accuracy-table.")
        return []
    try:
        return [own_accuracy_table(space)]
    except PonasError as error:
        parts.left_out.append(f"{what}: {error}")
        return []


def _front(
    parts: _Parts,
    key: str,
    space: str,
    title: str,
    group: Sequence[tuple[str, StoredTable]],
    sides: Sequence[Side],
    asked: Asked,
) -> None:
    names = [name for name, _ in group]
    own = fronts_of(sides)
    fronts, predict = comparable(sides, names, own)
    parts.warnings += side_warnings(sides, names, own)
    compared, notes = beside(asked.compared, [stored.table.conditions for _, stored in group])
    kept = list(compared)
    if asked.compared:
        if refused := _why_not_beside(sides, has_top1=predict(0.0) is not None):
            parts.left_out.append(f"Measured networks beside the front of {space or 'the table'}: {refused}")
            kept, notes = [], ()
        without = [one.name for where in kept for one in where.networks if one.top1_pct is None]
        if without:
            parts.left_out.append(f"Without a known top-1, so on no chart: {', '.join(without)}.")
        notes = (*notes, *(text for where in kept for text in where.notes))
    grids = [stored.table.grid for _, stored in group]
    engine = _engine_point(asked.engine, space, sides)
    parts.charts.append(front_chart(key, title, fronts, grids, predict, kept, engine, notes))


def _why_not_beside(sides: Sequence[Side], *, has_top1: bool) -> str:
    """Why networks with an ImageNet top-1 cannot stand beside these fronts; empty where they can."""
    if not has_top1:
        return "the accuracy table only ranks networks, it predicts no top-1."
    origin = sides[0].accuracy.origin
    if origin is None or origin.data != IMAGES:
        made = f"of {origin.data}" if origin else "of images that the file does not name"
        return f"the top-1 of the accuracy table is {made}, theirs of {IMAGES}."
    classes = {side.latency.space.classes for side in sides if side.latency.space}
    if classes - {origin.classes}:
        return f"the latency tables are of networks with {min(classes)} classes, not {origin.classes}."
    return ""


def _engine_point(engine: Engine | None, space: str, sides: Sequence[Side]) -> EnginePoint | None:
    if engine is None or engine.measured is None or engine.manifest.space.name != space:
        return None
    key = engine.manifest.space
    fitting = [side for side in sides if side.latency.space == key]
    if not fitting:
        return None
    accuracy = fitting[0].accuracy
    loss_pp = accuracy.loss_pp(engine.manifest.choices)
    top1 = accuracy.predicted_top1(loss_pp)
    y, how = (top1.pct, "predicted by the accuracy table") if top1 else (loss_pp, "summed losses of a table")
    return EnginePoint(engine.folder.resolve(), engine.measured.p50_ms, y, how, engine.conditions.text)


def _layers(parts: _Parts, named: Sequence[tuple[str, StoredTable]], engine: Engine) -> Iterator[Chart]:
    manifest = engine.manifest
    of_space = [one for one in named if one[1].table.space == manifest.space]
    exact = [one for one in of_space if one[1].table.conditions == engine.conditions]
    if not of_space:
        parts.left_out.append(
            f"Where the time of the engine goes: no latency table here is of {manifest.space.name} at"
            f" {manifest.space.resolution} px with {manifest.space.classes} classes."
        )
        return
    name, stored = (exact or of_space)[0]
    notes = [f"By the latency table {name}."]
    if not exact:
        notes.append(f"The engine runs on {engine.conditions.text}, of which no table is here.")
    if engine.measured:
        notes.append(f"The engine took {engine.measured.p50_ms:.4g} ms when it was measured (p50).")
    folder = engine.folder.resolve().name
    yield predicted_layers("layers-engine", folder, stored.table.grid, manifest.choices, notes)


def _timed(parts: _Parts, asked: Asked) -> None:
    if asked.timed:
        notes = [f"Timed on {asked.timed.where}, by the runtime's own profiler."]
        parts.charts.append(timed_layers("layers-stock", asked.timed.name, asked.timed.layers, notes))
    elif asked.engine:
        parts.left_out.append(
            "Where the time of a stock network goes: its layer times are not known; --stock-layers takes them"
            " on this machine."
        )
