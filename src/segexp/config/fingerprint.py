"""The settings of a job that determine its result, as a table and as a fingerprint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

NOT_SETTINGS = ("hydra", "output_dir", "overwrite", "resume", "sweep")
"""Top-level keys that change where and how a job runs, but not its result."""


def settings_fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of a resolved configuration without `NOT_SETTINGS`."""
    kept = {key: value for key, value in settings.items() if key not in NOT_SETTINGS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as a table: setting -> value as typed, without those that only control where and how a sweep runs."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if key.split(".")[0].split("/")[0] not in NOT_SETTINGS}
