"""Metrics of draws of points and of distributions over sets, each with its floor."""
