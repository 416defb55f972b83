"""Search instead of a grid: which settings to try next, and which jobs to give up early. Needs the extra ``search``."""
