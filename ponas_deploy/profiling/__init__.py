"""From a device, a space and a runtime to a certified latency table; which tables serve, which are stale."""
