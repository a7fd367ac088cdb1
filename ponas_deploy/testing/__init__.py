"""For authors of runtimes: the contract that every backend is run through. Needs pytest."""

import pytest

pytest.register_assert_rewrite("ponas_deploy.backends.contract")

from ponas_deploy.backends.contract import BackendContract  # noqa: E402

__all__ = ["BackendContract"]
