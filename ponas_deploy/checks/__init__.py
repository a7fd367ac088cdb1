"""Is it still true: a table file, an engine, a latency table, this machine."""
