"""What a training run is asked to do: the recipe, and settings by name. No torch."""

from train.settings.assign import assigned, dotted, known, pairs_of
from train.settings.recipe import (
    PRESETS,
    FineTuneSettings,
    MetaSettings,
    SpecializedSettings,
    TrainSettings,
    TransferSettings,
    deciding,
    preset,
)
from train.settings.shrinking import Distillation, ElasticSettings, ShrinkSettings

__all__ = [
    "PRESETS",
    "Distillation",
    "ElasticSettings",
    "FineTuneSettings",
    "MetaSettings",
    "ShrinkSettings",
    "SpecializedSettings",
    "TrainSettings",
    "TransferSettings",
    "assigned",
    "deciding",
    "dotted",
    "known",
    "pairs_of",
    "preset",
]
