"""The contract of all runtimes (`test_contract`), over those of a GPU with a stand-in below them."""

from __future__ import annotations

import pytest
import test_contract
from test_contract import expected  # noqa: F401 (fixture)
from test_onnxruntime_gpu import gpu  # noqa: F401 (fixture)
from test_trtexec import log  # noqa: F401 (fixture)

from ponas_deploy.backends import Backend, get_backend

# It looks for a package of the backend's name; what is missing here is a program or a provider.
_NOT_OURS = "test_a_runtime_that_is_not_installed_comes_with_the_install_line"
_FIXTURES = {"trtexec": "log", "onnxruntime-cuda": "gpu"}


@pytest.fixture(params=_FIXTURES)
def backend(request: pytest.FixtureRequest) -> Backend:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    request.getfixturevalue(_FIXTURES[request.param])
    return get_backend(request.param)


globals().update(
    {
        name: test
        for name, test in vars(test_contract).items()
        if name.startswith("test_") and name != _NOT_OURS
    }
)
