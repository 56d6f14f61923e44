"""Figures and animations. Each function depends on its arguments only."""
