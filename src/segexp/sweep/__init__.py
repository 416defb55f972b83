"""Multiruns: what their jobs leave behind, and the table made of it."""

FAILURE = "failed.txt"
"""File in a job's folder that holds what went wrong in it."""
