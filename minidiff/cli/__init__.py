"""The commands of `python -m minidiff`."""
