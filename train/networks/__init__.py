"""Torch modules of a space, and weights in and out of them."""
