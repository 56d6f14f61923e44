"""Configs of the student project."""
