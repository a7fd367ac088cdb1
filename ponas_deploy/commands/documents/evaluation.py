"""What `ponas evaluate --json` prints."""

from __future__ import annotations

from dataclasses import dataclass

from ponas_deploy.engines.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class EvaluatedEngine:
    """The accuracy through an engine, and what the engine is."""

    folder: str
    made_for: str
    weights: str
    top1_pct: float
    top5_pct: float
    images: int


@dataclass(frozen=True, slots=True)
class EvaluationDocument:
    """What `ponas evaluate --json` prints; see `Evaluation`. `agree` is None without an engine."""

    top1_pct: float
    top5_pct: float
    images: int
    cross_entropy: float
    data: str
    split: str
    resolution: int
    space: str
    choices: tuple[str, ...]
    weights: str
    agree: bool | None
    engine: EvaluatedEngine | None


def evaluation_document(found: Evaluation) -> EvaluationDocument:
    """The accuracy through torch, and the engine's in a document of its own."""
    torch, engine = found.torch, None
    if found.engine is not None:
        accuracy = found.engine
        engine = EvaluatedEngine(
            found.engine_folder,
            found.engine_conditions,
            found.engine_weights,
            accuracy.top1_pct,
            accuracy.top5_pct,
            accuracy.images,
        )
    return EvaluationDocument(
        torch.top1_pct,
        torch.top5_pct,
        torch.images,
        found.cross_entropy,
        found.data,
        found.split,
        found.resolution,
        found.space,
        found.choices,
        found.weights,
        found.agree,
        engine,
    )
