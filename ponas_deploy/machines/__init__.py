"""Which machine this is, what state it is in, and processes of ours on it."""
