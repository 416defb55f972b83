"""Settings of the whole test suite."""

from hypothesis import settings

# time limits on single examples fail on shared machines and say nothing about the code
settings.register_profile("segexp", deadline=None)
settings.load_profile("segexp")
