"""What a training run is asked to do, and how far it is."""
