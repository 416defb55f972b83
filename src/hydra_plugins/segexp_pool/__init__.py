"""The Hydra launcher ``pool``: runs the jobs of a sweep in parallel on one machine, each in its own process."""
