"""What `ponas specialize` does without a device: a network chosen by tables alone, and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ponas_deploy.commands.limits import Limits
from ponas_deploy.commands.output import note, print_json, show

if TYPE_CHECKING:
    from ponas_deploy.commands.quantities import Resolutions


def choose(
    limits: Limits,
    latency_tables: list[str],
    accuracy_tables: list[str],
    networks: tuple[str | None, Resolutions | None, int | None],
    method: str,
    seed: int,
    confidence: float | None,
    json: bool,
) -> None:
    """Choose by latency and accuracy tables; `networks` are the space, resolutions and classes asked for."""
    from ponas_deploy.engines.choice import choose_over
    from ponas_deploy.search.precisions import best_by_precision, gain_text
    from ponas_deploy.search.sides import budget_over, sides_of
    from ponas_deploy.search.specialize import counted_at
    from ponas_deploy.tables import store
    from ponas_deploy.tables.names import short_names
    from ponas_deploy.tables.spaces import spaces_for

    if not latency_tables:
        raise typer.BadParameter(
            "name --device, or a --latency-table and an --accuracy-table to choose from."
        )
    stored = [store.latency_table(name, note) for name in latency_tables]
    space, resolution, classes = networks
    tables = [one.table for one in stored]
    spaces = spaces_for(tables, space, resolution.px if resolution else (), classes)
    one = resolution.one if resolution else None
    if text := counted_at(tables[0], spaces[0], limits, one, classes):
        note(text)
    if not accuracy_tables and spaces[0] is None:
        raise typer.BadParameter("these labels belong to no space that is known: name an --accuracy-table.")
    accuracies = [store.accuracy_table(name, note) for name in accuracy_tables]
    if not accuracies and spaces[0]:
        accuracies = [store.own_accuracy_table(spaces[0].name, note)]
    sides = sides_of(tables, [one.table for one in accuracies], spaces)
    several = len(stored) > 1
    names = short_names(tables, [one.path for one in stored]) if several else latency_tables
    found = choose_over(
        stored,
        sides,
        budget_over(limits, sides),
        names=names,
        method=method,
        seed=seed,
        confidence=confidence,
        on_note=note,
    )
    made_on = "; ".join(one.made_on for one in accuracies)
    chosen = sides[names.index(found.table)] if found.table else sides[0]
    in_precisions = best_by_precision(
        chosen.latency, chosen.accuracy, found.specialization.budget, chosen.space
    )
    if json:
        from ponas_deploy.commands.documents.choice import choice_document

        print_json(choice_document(found, confidence, made_on, in_precisions))
        return
    from ponas_deploy.commands.reports.engine import specialization_report

    by = [f"Latency table: {found.table}, of {len(stored)}."] if found.table else []
    by += [f"Latency: {found.estimated}."] if found.estimated else []
    notes = [*by, f"Accuracy table: {made_on}."]
    if text := gain_text(in_precisions):
        notes.append(f"{text[0].upper()}{text[1:]}")
    show(specialization_report(found.specialization, found.margin, notes, found.doubts))
