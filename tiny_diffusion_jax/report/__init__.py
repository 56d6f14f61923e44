"""Measure and draw a finished run."""
