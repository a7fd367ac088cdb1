"""FractalDB: labelled images drawn by formula, so that training needs neither a download nor a licence.

Source: Kataoka et al., "Pre-training without Natural Images", ACCV 2020 (arXiv 2101.08515). A class is
an iterated function system: 2 to 8 contractive affine maps with coefficients uniform in [-1, 1], each
chosen with a probability proportional to |det|, redrawn until its picture fills enough of the frame.
An image of the class is the same system with every coefficient perturbed, turned, mirrored, and drawn
with one of ten random 3x3 patches.

Three things differ from the paper, because here the images must tell good networks from better ones:
- Perturbations are continuous. The paper's 25 fixed variations a class put near-copies of every
  training image into the validation set.
- Classes come in families: `families` systems drawn apart, the classes of a family variations of one.
  Telling a family's classes apart is what makes the task hard; `spread` and `perturbation` say how hard.
- An image is turned by any angle, scaled and moved, where the paper has four flips.

A picture is the same at every number of processes and in every order of drawing: each family, class
and image has its own stream of random numbers.
"""

from train.fractal.cache import GENERATOR, cache_folder, fractal_images
from train.fractal.pictures import draw
from train.fractal.systems import FractalSettings, System, fill_rate, systems

__all__ = [
    "GENERATOR",
    "FractalSettings",
    "System",
    "cache_folder",
    "draw",
    "fill_rate",
    "fractal_images",
    "systems",
]
