"""How many threads NumPy's own linear algebra takes."""

from __future__ import annotations

import os


def one_thread() -> None:
    """Let NumPy's BLAS use one thread; to be called before NumPy is imported.

    The matrices of a fit are small: on a busy machine threads that wait for each other take ten times
    as long.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
