"""Boards: devices that are reached through a command (ssh, docker exec), and what they answer."""
