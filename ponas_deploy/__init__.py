"""Hardware-aware deployment of CNNs: measure a device, search by the measurements, verify the engine."""

__version__ = "0.1.0"
