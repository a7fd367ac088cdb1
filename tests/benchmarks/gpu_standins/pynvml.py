"""NVML of the stand-in's GPU."""


class NVMLError(Exception):
    """As in the real bindings."""


NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0


def nvmlInit() -> None: ...  # noqa: N802


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return 1


def nvmlDeviceGetHandleByIndex(index: int) -> str:  # noqa: N802
    return "the only one"


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:  # noqa: N802
    return "the only one"


def nvmlDeviceGetName(handle: str) -> str:  # noqa: N802
    return "NVIDIA Stand-in"


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return "580.1"


def nvmlDeviceGetClockInfo(handle: str, kind: int) -> int:  # noqa: N802
    return 1000 * kind


def _refused(*arguments: object) -> None:
    raise NVMLError("Not Supported")


def __getattr__(name: str) -> object:
    """What a board's GPU does not tell."""
    if name.startswith("nvml"):
        return _refused
    raise AttributeError(name)
