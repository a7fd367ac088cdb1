"""From images to an accuracy table and weights: the meta network, then progressive fine-tuning.

The only room that needs torch (`pip install ponas-deploy[train]`). Nothing is imported here, so that what
needs no torch can be read without it: `settings`, `progress` and `files`. `train.runs` starts a training.

    errors      its errors
    settings    what a run is asked to do: the recipe, and settings by name
    progress    what a run reports while it goes on, and how fast it is
    compute     where torch computes: device, precision, processes, seeds
    files       the folder of a run: settings, log, lock, finished rows, status
    fractal     images drawn by formula
    data        images to train on, by name or by folder
    networks    torch modules of a space, and weights in and out of them
    stages      what a run does to a network: train, fine-tune, inherit, evaluate
    runs        whole runs, from images to a table and weights
"""
