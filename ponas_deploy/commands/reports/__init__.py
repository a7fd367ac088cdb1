"""Values to rich renderables: what a person sees. No printing, no files, no arithmetic beyond rounding.

One file a report, imported by the command that prints it; `style.py` is what they share.
"""
