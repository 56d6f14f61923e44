"""Metrics of clouds of points and of distributions over sets, each with its floor."""
