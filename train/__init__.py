"""From images to an accuracy table and weights: the meta network, then progressive fine-tuning.

The only room that needs torch (`pip install ponas-deploy[train]`). Nothing is imported here, so that
`train.settings` and `train.progress` can be read without it; `train.run` is the door.
"""
