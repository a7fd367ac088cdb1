"""Latency tables and accuracy tables: values, files, imports from CSV, quality and margins, the store.

Each file is imported by its own name: what measures needs `measurement` alone, and must not load the rest.
"""
