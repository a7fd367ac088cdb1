"""Where torch computes: device, precision, processes, seeds."""
