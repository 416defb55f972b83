"""The Hydra launcher ``pool``: jobs of a sweep beside each other on one machine, each in a process of its own."""
