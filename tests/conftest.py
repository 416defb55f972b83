"""Settings of the whole test suite."""

import os
import tempfile

from hypothesis import settings

# what the tests remember of their data is theirs: never the user's cache, and gone with them
_cache = tempfile.TemporaryDirectory(prefix="segexp-cache-")
os.environ["SEGEXP_CACHE"] = _cache.name

# time limits on single examples fail on shared machines and say nothing about the code
settings.register_profile("segexp", deadline=None)
settings.load_profile("segexp")
