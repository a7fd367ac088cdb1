"""A table from whole networks alone: anyone's, measured or evaluated anywhere.

    networks = read_networks(path)
    fitted = fit_networks(networks)
    table_of(fitted)          # a LatencyTable or an AccuracyTable

What sums over layers cannot know is a finding instead of a guess: which cells the rows leave open, whether
sums explain the rows at all, whether the machine drifted, and how well held-out rows are predicted.
"""

from ponas_deploy.fitting.predictions import Predictions, predict_rows, predictions_document
from ponas_deploy.fitting.result import LEAST_ROWS, Fit, fit_document, fit_networks
from ponas_deploy.fitting.tables import Evaluated, predict, table_of

__all__ = [
    "LEAST_ROWS",
    "Evaluated",
    "Fit",
    "Predictions",
    "fit_document",
    "fit_networks",
    "predict",
    "predict_rows",
    "predictions_document",
    "table_of",
]
