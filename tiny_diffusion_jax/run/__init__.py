"""Runs: the command line, what it does in a working directory, the files it keeps there."""
