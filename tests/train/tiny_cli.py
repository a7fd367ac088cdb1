"""The command line with the tiny space and the tiny images known by name, in a process of its own."""

from __future__ import annotations

import pytest
import torch
from tiny_training import known

from ponas_deploy.commands import main

if __name__ == "__main__":
    torch.set_num_threads(1)
    known(pytest.MonkeyPatch())
    main()
