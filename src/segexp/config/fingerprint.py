"""What of a job's settings its result depends on, as a table and as a fingerprint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

NOT_SETTINGS = ("hydra", "output_dir", "overwrite", "resume", "sweep")
"""Keys at the top of the configuration that change where and how a job runs, and not what comes out of it."""


def settings_fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved configuration without `NOT_SETTINGS`."""
    kept = {key: value for key, value in settings.items() if key not in NOT_SETTINGS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as a table: setting -> value as typed, without those that only say where and how a sweep runs."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if key.split(".")[0].split("/")[0] not in NOT_SETTINGS}
