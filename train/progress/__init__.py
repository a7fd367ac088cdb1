"""What a training run reports while it goes on, and how fast it is. No torch."""

from train.progress.pace import Pace, Speed
from train.progress.reports import (
    Evaluation,
    LayerRow,
    OnProgress,
    StageName,
    TrainingProgress,
    both,
    notes,
    silent,
)

__all__ = [
    "Evaluation",
    "LayerRow",
    "OnProgress",
    "Pace",
    "Speed",
    "StageName",
    "TrainingProgress",
    "both",
    "notes",
    "silent",
]
