"""Runs: the command line, its modes, and the files in the folder of a run."""
