"""Measuring on a board: what is sent there, what runs there, and following it from here."""
