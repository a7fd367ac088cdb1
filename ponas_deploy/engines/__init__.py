"""Engines: built from an architecture and weights, and measured until the latency meets the budget."""
