"""Engines below the algorithms: compiled code, and what brings it."""
