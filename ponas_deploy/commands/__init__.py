"""The command line: options in, one library call, one report out. Nobody imports it but the entry point."""

from ponas_deploy.commands.app import app, main

__all__ = ["app", "main"]
