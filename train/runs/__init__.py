"""Training runs: their folders, logs, locks and results."""
