"""The measuring protocol. Needs only the standard library, NumPy and a backend."""
