"""Where images that were drawn, fetched or checked are kept."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

VARIABLE = "PONAS_CACHE"
"""The environment variable that names another cache folder than the user's own."""


def default_cache() -> Path:
    """The folder of data sets: $PONAS_CACHE, or the user's cache folder."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_cache_path("ponas-deploy", appauthor=False)
