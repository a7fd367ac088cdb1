"""`cuda.bindings.runtime` of the stand-in, and the driver's library that goes with it."""

import tensorrt_standin
from stand_in_machine import MACHINE

from ponas_deploy.backends import _cuda

globals().update(vars(tensorrt_standin.cuda_runtime(MACHINE)))
globals().setdefault("cudaMemGetInfo", lambda: (tensorrt_standin.Code.cudaSuccess, 6 << 30, 8 << 30))
_cuda.driver_library = lambda: tensorrt_standin.driver(MACHINE)
