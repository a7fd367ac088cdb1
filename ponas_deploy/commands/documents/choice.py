"""What `ponas specialize --json` prints of a choice from tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from ponas_deploy.commands.documents.values import values_of
from ponas_deploy.engines.choice import Choice
from ponas_deploy.search.specialize import SpecializationDocument, specialization_document


@dataclass(frozen=True, slots=True)
class ChoiceDocument(SpecializationDocument):
    """What `ponas specialize --json` prints where it chooses from tables, and builds nothing.

    `margin` is the factor that the prediction was multiplied with for the `confidence` asked for, None for
    none. Nothing is `measured`. `warnings` are what there is to say against the tables. `latency_table` is
    the one of several that the network was chosen by.
    """

    confidence: float | None
    margin: float | None
    measured: None
    accuracy_made_on: str
    warnings: tuple[str, ...]
    latency_table: str | UnsetType = field(default=UNSET, kw_only=True)


def choice_document(found: Choice, confidence: float | None, accuracy_made_on: str) -> ChoiceDocument:
    """A network that was chosen from tables as `ponas specialize --json` prints it."""
    chosen = specialization_document(found.specialization)
    return ChoiceDocument(
        **values_of(chosen),
        confidence=confidence,
        margin=found.margin.factor if found.margin else None,
        measured=None,
        accuracy_made_on=accuracy_made_on,
        warnings=found.warnings,
        latency_table=found.table or UNSET,
    )
