"""What commands print with `--json` of values of several rooms: one file a command, loaded when it prints."""
