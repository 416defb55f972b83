"""Multiruns: what their jobs leave behind, and the table made of it."""

FAILURE = "failed.txt"
"""File in a job's folder that holds what went wrong in it."""

PRUNED = "pruned.txt"
"""File in the folder of a job that a search gave up, saying when and why."""
