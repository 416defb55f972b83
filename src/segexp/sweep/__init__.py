"""Sweeps: every job in its own process and folder, resumed after a kill, summarised in one table.

`job_store` records which job is in which folder and its state; `pool` runs jobs in parallel and `progress` shows them;
`table` and `summary` write ``summary.csv`` and the closing table. The Hydra launcher itself is in
`hydra_plugins.segexp_pool`.
"""

FAILURE = "failed.txt"
"""File in a job's folder with the error that ended it."""

PRUNED = "pruned.txt"
"""File in the folder of a job that a search pruned, saying when and why."""

LOG = "job.log"
"""File in a job's folder with everything that its process printed."""
