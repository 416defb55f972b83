"""Search instead of a grid: which settings to try next, and which jobs to prune. Needs the extra ``search``."""
