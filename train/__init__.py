"""From images to an accuracy table and weights: the meta network, then progressive fine-tuning.

The only room that needs torch (`pip install ponas-deploy[train]`). Nothing is imported here, so that
`train.settings.settings` and `train.settings.progress` can be read without it; `train.runs.run` is the door.
"""
