"""What a training run is asked to do: the recipe, and settings by name. No torch."""

from train.settings.assign import assigned, dotted, known, pairs_of
from train.settings.recipe import (
    PRESETS,
    Distillation,
    FineTuneSettings,
    MetaSettings,
    SpecializedSettings,
    TrainSettings,
    TransferSettings,
    preset,
)

__all__ = [
    "PRESETS",
    "Distillation",
    "FineTuneSettings",
    "MetaSettings",
    "SpecializedSettings",
    "TrainSettings",
    "TransferSettings",
    "assigned",
    "dotted",
    "known",
    "pairs_of",
    "preset",
]
