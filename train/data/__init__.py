"""Images to train on, by name or by folder."""

from train.compute.share import WHOLE, Share
from train.data.sources import SOURCES, load
from train.data.splits import Batch, Images, Splits, TensorImages

__all__ = ["SOURCES", "WHOLE", "Batch", "Images", "Share", "Splits", "TensorImages", "load"]
