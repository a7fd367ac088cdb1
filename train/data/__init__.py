"""Images to train on, by name or by folder."""

from train.data.file_images import FileImages
from train.data.sources import SOURCES, load
from train.data.splits import Batch, Images, Splits, TensorImages

__all__ = ["SOURCES", "Batch", "FileImages", "Images", "Splits", "TensorImages", "load"]
