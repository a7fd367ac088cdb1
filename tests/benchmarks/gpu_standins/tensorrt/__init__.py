"""`tensorrt`, played by `tests/backends/tensorrt_standin.py`, for processes that a test starts."""

import tensorrt_standin
from stand_in_machine import MACHINE

globals().update(vars(tensorrt_standin.tensorrt(MACHINE)))
