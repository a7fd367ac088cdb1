"""Whole training runs, from images to a table and weights.

result = train_run(preset("quick"), Path("runs/digits"))
"""

from train.runs.specialized import SpecializedResult, TrainingJob, specialized_run
from train.runs.supernet import TrainResult, train_run

__all__ = ["SpecializedResult", "TrainResult", "TrainingJob", "specialized_run", "train_run"]
