"""What a training run is asked to do: the recipe, and settings by name. No torch."""

from train.settings.assign import assigned, dotted, known, pairs_of
from train.settings.recipe import (
    PRESETS,
    RECIPES,
    FineTuneSettings,
    MetaSettings,
    SpecializedSettings,
    TrainSettings,
    TransferSettings,
    deciding,
    preset,
    recipe_of,
)
from train.settings.retraining import retraining
from train.settings.shrinking import Distillation, ElasticSettings, ShrinkSettings
from train.settings.single_path import SinglePathSettings

__all__ = [
    "PRESETS",
    "RECIPES",
    "Distillation",
    "ElasticSettings",
    "FineTuneSettings",
    "MetaSettings",
    "ShrinkSettings",
    "SinglePathSettings",
    "SpecializedSettings",
    "TrainSettings",
    "TransferSettings",
    "assigned",
    "deciding",
    "dotted",
    "known",
    "pairs_of",
    "preset",
    "recipe_of",
    "retraining",
]
