"""Reports on a chosen network and on an engine: asked, predicted, measured, each in its own row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ponas_deploy.checks.engine import Verification
from ponas_deploy.commands.reports.costs import measured_rows
from ponas_deploy.commands.reports.style import BAD, BEST, FAINT, GOOD, WARN, AtCommas, digits, table, titled
from ponas_deploy.engines.checked import TITLES, amount
from ponas_deploy.engines.engine import Engine
from ponas_deploy.engines.loop import Deployment
from ponas_deploy.engines.manifest import Manifest
from ponas_deploy.engines.timing import EngineTiming
from ponas_deploy.engines.verdict import CANNOT_BE_TOLD, MET, MISSED, Verdict, judge
from ponas_deploy.search.budget import Budget
from ponas_deploy.search.costs import network_costs, report_rows
from ponas_deploy.search.notation import in_megabytes
from ponas_deploy.search.precisions import gain_text
from ponas_deploy.search.specialize import Specialization
from ponas_deploy.tables.latency import ESTIMATE
from ponas_deploy.tables.margin import Margin
from ponas_deploy.tables.top1 import PredictedTop1
from searchspace.architecture import text_form
from searchspace.mixed import is_int8

_SHARED_PCT = 1.0


def specialization_report(
    solution: Specialization,
    margin: Margin | None = None,
    notes: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> RenderableType:
    """A network that was chosen and not built, with the margin that was left, if one was.

    What makes the choice worthless (`doubts`) comes first.
    """
    rows = _facts("Network for the budget")
    _asked(rows, solution.budget)
    rows.add_row("margin", margin.text if margin else "none")
    rows.add_row("predicted latency", f"{digits(solution.predicted_ms)} ms")
    _chosen(rows, solution, doubted=bool(doubts))
    if solution.resolution:
        rows.add_row("resolution", f"{solution.resolution} px")
    _network(rows, solution.choices)
    first = (Text(f"Not to be relied on: {doubt}", style=BAD) for doubt in doubts)
    return Group(*first, rows, *(Text(note, style=FAINT) for note in notes))


def deployment_report(deployment: Deployment, space: str = "", trained: str = "") -> RenderableType:
    """An engine that was searched, built and measured; `space` and `trained` as of `engine_report`."""
    chosen, manifest = deployment.chosen, deployment.manifest
    rows = _facts(f"Engine for {chosen.conditions.text}")
    _space(rows, manifest, space)
    _asked(rows, chosen.choice.budget, manifest.percentile)
    _asked_throughput(rows, manifest)
    if chosen.margin:
        rows.add_row("margin before measuring", chosen.margin.text)
    rows.add_row("predicted latency", f"{digits(chosen.choice.predicted_ms)} ms")
    if chosen.timing:
        _measured(rows, chosen.timing, chosen.choice.budget.latency_ms, manifest)
    rows.add_row("tries", str(manifest.tries))
    _chosen(rows, chosen.choice, doubted=deployment.tables_doubted)
    _identity(rows, manifest, trained)
    rows.add_row("engine", str(deployment.folder))
    return Group(*_warnings(manifest), rows, *_attempts(deployment), *_shortlisted(manifest))


def engine_report(engine: Engine, space: str = "", trained: str = "") -> RenderableType:
    """An engine as it came out: with the search that found it, where there was one.

    `space` says why it is of its search space, `trained` how random weights are replaced by trained ones.
    """
    if engine.chosen is None:
        return manifest_report(engine.manifest, engine.folder, space, trained)
    found = engine.chosen, engine.attempts, engine.tables_doubted
    return deployment_report(Deployment(engine.folder, engine.manifest, *found), space, trained)


def manifest_report(manifest: Manifest, folder: Path, space: str = "", trained: str = "") -> RenderableType:
    """An engine folder by itself: exported, or still to be built on its device."""
    rows = _facts(f"Engine for {manifest.conditions.text}")
    _space(rows, manifest, space)
    budget = Budget(**dict(manifest.budget))
    _asked(rows, budget, manifest.percentile)
    _asked_throughput(rows, manifest)
    predicted = dict(manifest.predicted)
    if predicted.get("margin"):
        kept = f"{100 * predicted['confidence']:g} % of networks"
        rows.add_row("margin", f"{100 * (predicted['margin'] - 1):+.1f} % for {kept}")
    if "predicted_ms" in predicted:
        estimated = ", estimated, not measured" * (manifest.conditions.backend == ESTIMATE)
        rows.add_row("predicted latency", f"{digits(predicted['predicted_ms'])} ms{estimated}")
        rows.add_row("predicted loss", f"{predicted['predicted_loss_pp']:.2f} pp")
    if "predicted_top1_pct" in predicted:
        top1 = PredictedTop1(predicted["predicted_top1_pct"], predicted["predicted_top1_of"])
        rows.add_row("predicted top-1", top1.text)
    if manifest.measured:
        _measured(rows, manifest.measured, budget.latency_ms, manifest)
    _identity(rows, manifest, trained)
    rows.add_row("status", Text(manifest.status, style=GOOD if manifest.measured else WARN))
    rows.add_row("engine", str(folder))
    return Group(*_warnings(manifest), rows, *_shortlisted(manifest))


def verification_report(found: Verification) -> RenderableType:
    """What `ponas verify` found, one check a row."""
    manifest = found.manifest
    rows = table("")
    for column in ("check", "found", "expected", ""):
        rows.add_column(column)
    changed = f"missing or changed: {', '.join(found.changed_files)}" if found.changed_files else "all intact"
    _check(rows, "files", changed, f"{len(manifest.files)} files as emitted", not found.changed_files)
    if found.architecture_agrees is not None:
        space = manifest.space
        expected = f"{space.name}, {space.resolution} px, {space.classes} classes, as chosen"
        shapes = "that of the manifest" if found.architecture_agrees else "another network's"
        _check(rows, "architecture", shapes, expected, found.architecture_agrees)
    if found.portable_answers is not None:
        answers = "finite" if found.portable_answers else "not finite, or of another shape"
        _check(rows, "portable model", answers, "finite outputs", found.portable_answers)
    for given in found.compared:
        agrees = given.difference <= found.tolerance
        text = f"{given.difference:.2g} of the largest output, on {given.what}"
        _check(rows, "outputs", text, f"at most {found.tolerance:g}", agrees)
    if found.timing:
        now = f"p{found.percentile} {digits(found.timing.percentile_ms(found.percentile))} ms"
        limit = f"at most {digits(found.budget_ms)} ms" if found.budget_ms is not None else "no budget"
        _check(rows, "latency", f"{now} (noise {found.noise_pct:.1f} %)", limit, found.verdict or MET)
    for one in found.checked:
        noise = f" (noise {one.noise_pct:.1f} %)" * bool(one.noise_pct)
        taken = f"{amount(one.name, one.measured)}{noise}"
        _check(rows, TITLES[one.name], taken, f"at most {amount(one.name, one.limit)}", one.keeps)
    said = [Text(warning, style=WARN) for warning in found.warnings]
    if found.changed_files:
        again = "make it again with `ponas specialize` or `ponas export`, or copy it again"
        said.insert(0, Text(f"This is not the engine that was emitted: {again}.", style=WARN))
    costs = measured_rows(found.timing, manifest.conditions) if found.timing else ()
    said = [*(Text(f"{title}: {value}") for title, value in costs), *said]
    named = titled(f"Verification of an engine for {manifest.conditions.text}", rows)
    return Group(named, Text(manifest.status, style=FAINT), *said)


def _facts(title: str) -> Table:
    rows = table(title)
    rows.show_header = False
    rows.add_column(style=FAINT, no_wrap=True)
    rows.add_column(overflow="fold")
    return rows


def _asked(rows: Table, budget: Budget, percentile: int = 50) -> None:
    limits = [f"at most {text}" for text in budget.texts]
    if budget.latency_ms is not None and percentile != 50:
        limits[0] += f" in {percentile} of 100 inferences"
    if limits:
        rows.add_row("asked", ", ".join(limits))


def _asked_throughput(rows: Table, manifest: Manifest) -> None:
    if manifest.throughput:
        rows.add_row("asked throughput", f"at least {manifest.throughput:g} images/s, which is that latency")


def _measured(rows: Table, timing: EngineTiming, limit_ms: float | None, manifest: Manifest) -> None:
    percentile = manifest.percentile
    shown = sorted({50, 95, 99, percentile})
    verdict = Text(", ".join(f"p{percent} {digits(timing.percentile_ms(percent))} ms" for percent in shown))
    if limit_ms is not None:
        found_ms = timing.percentile_ms(percentile)
        met = found_ms <= limit_ms
        share = f"{100 * found_ms / limit_ms:.0f} % of the budget" if met else "over the budget"
        told = judge(found_ms, limit_ms, timing.noise_pct(percentile)) != CANNOT_BE_TOLD
        style = (GOOD if met else BAD) if told else WARN
        verdict.append(f"  p{percentile}: {share}{'' if told else ', cannot be told'}", style=style)
    rows.add_row("measured latency", verdict)
    over = f" over {timing.span_s:.0f} s" if timing.span_s >= 1 else ""
    taken = "means of inferences in a row" if timing.back_to_back else "inferences"
    spread_pct, processes = timing.spread_pct(percentile), len(timing.processes_ns)
    floor = f"{spread_pct:.1f} % between {processes} fresh processes{over}, {timing.runs} {taken}"
    if timing.reproducibility_pct > spread_pct:
        floor = f"{timing.reproducibility_pct:.1f} %, as the machine's speed varies; {floor}"
    rows.add_row("noise floor", floor)
    if timing.shared_pct >= _SHARED_PCT:
        shared = f"{timing.shared_pct:.0f} % of the inferences met one that something else shared"
        rows.add_row("core", f"{shared}: they take 1.3 to 1.8 times as long; most were taken again")
    for title, value in measured_rows(timing, manifest.conditions):
        rows.add_row(title, value)


def _chosen(rows: Table, solution: Specialization, *, doubted: bool) -> None:
    rows.add_row("predicted loss", f"{solution.predicted_loss_pp:.2f} pp")
    if solution.predicted_top1:
        rows.add_row("predicted top-1", solution.predicted_top1.text)
    rows.add_row("gap to the optimum", _gap(solution, doubted=doubted))


def _gap(solution: Specialization, *, doubted: bool) -> Text:
    """The gap; where the tables are `doubted`, the optimum may be theirs alone."""
    if solution.gap_pp is None:
        return Text("not known", style=WARN)
    if solution.optimal and doubted:
        return Text(f"0 pp ({solution.method}), by tables that are warned of above", style=WARN)
    if solution.optimal:
        return Text(f"0 pp ({solution.method})", style=GOOD)
    if solution.method == "exact":
        return Text(f"at most {solution.gap_pp:.3g} pp (exact, the proof took too long)", style=WARN)
    return Text(f"{solution.gap_pp:.3f} pp above the exact search ({solution.method})", style=WARN)


def _space(rows: Table, manifest: Manifest, why: str) -> None:
    key = manifest.space
    rows.add_row("search space", why or key.name)
    rows.add_row("input", f"{key.resolution} px, {key.classes} classes")


def _identity(rows: Table, manifest: Manifest, trained: str) -> None:
    for title, value in report_rows(network_costs(manifest.architecture)):
        rows.add_row(title, value)
    if manifest.engine_bytes:
        rows.add_row("engine size", in_megabytes(manifest.engine_bytes))
    for used in manifest.tables:
        rows.add_row(f"{used.kind} table", f"{used.name}\n{used.made_on}")
    if manifest.top1_pct is not None:
        rows.add_row(
            "top-1 through the engine", Text(f"{manifest.top1_pct:.2f} % {manifest.top1_on}", style=BEST)
        )
    if manifest.top1_fp32_pct is not None:
        rows.add_row("top-1 in fp32", f"{manifest.top1_fp32_pct:.2f} % {manifest.top1_on}")
    for loss in manifest.precision_losses:
        rows.add_row(f"loss of {loss.precision}", loss.text)
    for gain in manifest.precision_gains:
        rows.add_row(f"{gain.precision} by the tables", gain.text)
    for backend, best in groupby(manifest.by_precision, attrgetter("backend")):
        rows.add_row(f"precisions in {backend}", gain_text(list(best)))
    weights = Text(manifest.weights, style="" if manifest.trained else BAD)
    if trained and not manifest.trained:
        weights.append(f"\n{trained}", style=WARN)
    rows.add_row("weights", weights)
    if manifest.batch_norm:
        rows.add_row("batch norm", manifest.batch_norm)
    _network(rows, manifest.choices)


def _network(rows: Table, choices: Sequence[str]) -> None:
    """The labels, and in mixed precision how many layers are on integers."""
    rows.add_row("architecture", AtCommas(text_form(choices)))
    if on_integers := sum(map(is_int8, choices)):
        rows.add_row("precision", f"int8 in {on_integers} of {len(choices)} layers, stem and head in fp32")


def _attempts(deployment: Deployment) -> list[RenderableType]:
    if len(deployment.attempts) < 2:
        return []
    rows = table("Networks that were built and timed on the way")
    several = len({attempt.resolution for attempt in deployment.attempts}) > 1
    for column in ("try", "runtime", "predicted ms", "expected ms", "measured ms", "loss pp", ""):
        rows.add_column(column, justify="right" if column.endswith(("ms", "pp")) else "left")
    for attempt in deployment.attempts:
        chosen = attempt.number == deployment.chosen.number
        told = attempt.verdict != CANNOT_BE_TOLD
        verdict = "chosen" if chosen else ("met" if attempt.meets else "over") if told else "cannot be told"
        rows.add_row(
            str(attempt.number),
            f"{attempt.conditions.backend} {attempt.conditions.precision}{attempt.where * several}",
            digits(attempt.choice.predicted_ms),
            digits(attempt.expected_ms),
            digits(attempt.measured_ms),
            f"{attempt.choice.predicted_loss_pp:.2f}",
            verdict,
            style=BEST if chosen else "",
        )
    return [rows]


def _shortlisted(manifest: Manifest) -> list[RenderableType]:
    if not manifest.shortlist:
        return []
    rows = table("Shortlist: evaluated on validation images")
    for column in ("validation top-1", "by the table", "loss pp", "predicted ms", ""):
        rows.add_column(column, justify="left" if not column else "right")
    by_table = sorted(manifest.shortlist, key=lambda entry: entry.predicted_loss_pp)
    for entry in manifest.shortlist:
        rows.add_row(
            f"{entry.validation_top1_pct:.2f} %",
            f"{by_table.index(entry) + 1}.",
            f"{entry.predicted_loss_pp:.2f}",
            digits(entry.predicted_ms),
            "chosen" if entry.chosen else "",
            style=BEST if entry.chosen else "",
        )
    return [rows]


def _warnings(manifest: Manifest) -> list[RenderableType]:
    said = (*manifest.warnings, *filter(None, (manifest.not_told,)))
    return [Text(warning, style=WARN) for warning in said]


def _check(rows: Table, name: str, found: str, expected: str, passed: bool | Verdict) -> None:
    """A row of a verification; `passed` says whether it holds, or for a budget what is to be said of it."""
    verdict: Verdict = passed if isinstance(passed, str) else (MET if passed else MISSED)
    rows.add_row(name, found, expected, Text(*_CHECKED[verdict]))


_CHECKED: dict[Verdict, tuple[str, str]] = {
    MET: ("ok", GOOD),
    MISSED: ("FAILED", BAD),
    CANNOT_BE_TOLD: ("cannot be told", WARN),
}
