"""Losses, and what a prediction is."""
