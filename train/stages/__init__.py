"""What a run does to a network: train it, fine-tune its candidates, inherit weights, evaluate."""

from train.stages.distill import load_teacher
from train.stages.evaluation import evaluate_weights
from train.stages.fairness import crop_from, fair_supernet, train_fair
from train.stages.imitation import train_first, train_imitation
from train.stages.inherit import (
    inherited_network,
    inherited_weights,
    recalibrate_batch_norm,
    refuse_other_space,
)
from train.stages.loop import evaluate
from train.stages.meta import meta_architecture, train_meta
from train.stages.opening import Opening, draw, smallest
from train.stages.progressive import TunedLayer, fine_tune
from train.stages.sampling import Choices, Side, sample, side_of
from train.stages.shrinking import (
    ShrinkStep,
    elastic_of,
    finished_supernet,
    shrink_steps,
    train_largest,
    train_step,
)
from train.stages.single_path import path_supernet, train_single_path
from train.stages.specialized import train_network
from train.stages.statistics import Statistics
from train.stages.subnets import Subnet, Supernet, evaluate_subnets
from train.stages.transfer import classifier_names, new_classifier, train_transfer

__all__ = [
    "Choices",
    "Opening",
    "ShrinkStep",
    "Side",
    "Statistics",
    "Subnet",
    "Supernet",
    "TunedLayer",
    "classifier_names",
    "crop_from",
    "draw",
    "elastic_of",
    "evaluate",
    "evaluate_subnets",
    "evaluate_weights",
    "fair_supernet",
    "fine_tune",
    "finished_supernet",
    "inherited_network",
    "inherited_weights",
    "load_teacher",
    "meta_architecture",
    "new_classifier",
    "path_supernet",
    "recalibrate_batch_norm",
    "refuse_other_space",
    "sample",
    "shrink_steps",
    "side_of",
    "smallest",
    "train_fair",
    "train_first",
    "train_imitation",
    "train_largest",
    "train_meta",
    "train_network",
    "train_single_path",
    "train_step",
    "train_transfer",
]
