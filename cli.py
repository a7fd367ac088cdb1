"""Starts the commands from a checkout: `python cli.py describe PONAS-A`. Installed, they are `ponas`."""

from ponas_deploy.commands import main

if __name__ == "__main__":
    main()
