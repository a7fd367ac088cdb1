"""Whole training runs, from images to a table and weights, and what is evaluated of a finished one.

result = train_run(preset("quick"), Path("runs/digits"))
"""

from train.runs.enough import too_few
from train.runs.fitted import fitted_run
from train.runs.images import data_of, fitting, load_images
from train.runs.specialized import SpecializedResult, TrainingJob, specialized_run
from train.runs.subnets import (
    EvaluatedSubnets,
    Run,
    SubnetEvaluator,
    SubnetsWanted,
    evaluated_subnets,
    open_run,
)
from train.runs.supernet import TrainResult, train_run
from train.runs.transfer import TransferJob, TransferResult, open_transfer, transfer_run

__all__ = [
    "EvaluatedSubnets",
    "Run",
    "SpecializedResult",
    "SubnetEvaluator",
    "SubnetsWanted",
    "TrainResult",
    "TrainingJob",
    "TransferJob",
    "TransferResult",
    "data_of",
    "evaluated_subnets",
    "fitted_run",
    "fitting",
    "load_images",
    "open_run",
    "open_transfer",
    "specialized_run",
    "too_few",
    "train_run",
    "transfer_run",
]
