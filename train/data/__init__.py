"""Images to train on, by name or by folder."""

from train.data.sources import SOURCES, as_divided, load, same_source
from train.data.splits import Batch, Images, Splits, TensorImages

__all__ = [
    "SOURCES",
    "Batch",
    "Images",
    "Splits",
    "TensorImages",
    "as_divided",
    "load",
    "same_source",
]
