"""Runs: training in a folder, its files, and saved, loaded and released weights."""
