"""Multiruns that finish: every job in its own process and folder, gone on with after a kill, summed up in one table.

`ledger` knows which job lies in which folder and how far it came; `pool` runs jobs beside each other and `live` shows
them; `table` and `summary` make ``summary.csv`` and the closing table. The Hydra launcher itself is in
`hydra_plugins.segexp_pool`.
"""

FAILURE = "failed.txt"
"""File in a job's folder that holds what went wrong in it."""

PRUNED = "pruned.txt"
"""File in the folder of a job that a search gave up, saying when and why."""

LOG = "job.log"
"""File in a job's folder that holds all that its process printed."""
