"""Cache the result of a check without faults, so that the next training run on the same data starts at once.

The key is a hash of every file's path, size and time of change, of the settings that decide what is read, and of the
version of segexp. The cache is a folder of small JSON files in the user's cache folder, never inside the data; files
that cannot be read are ignored. Faults are never cached, because the user is expected to fix them.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from segexp import __version__
from segexp.check.scan import Source
from segexp.io.atomic import write_text

FORMAT = 1
VARIABLE = "SEGEXP_CACHE"
"""Environment variable that names the folder to use instead of the user's cache."""

_KEPT = 200


def cache_folder() -> Path | None:
    """The folder of the cache; None if the user has no home folder."""
    named = os.environ.get(VARIABLE)
    base = Path(named) if named else platformdirs.user_cache_path("segexp", appauthor=False, opinion=False)
    return base / "check" if named or base.is_absolute() else None


def fingerprint(sources: Sequence[Source], settings: str) -> str:
    """A hash of the files as they are now and of `settings`; raises OSError if a file no longer exists."""
    digest = hashlib.blake2b(f"{FORMAT} {__version__} {settings}".encode(), digest_size=20)
    for source in sources:
        digest.update(f"\n{source.split} {source.page} {source.mask_page}".encode())
        for path in (source.image, source.mask):
            if path is not None:
                facts = path.stat()
                digest.update(f"\n{facts.st_size} {facts.st_mtime_ns} ".encode() + os.fsencode(path.absolute()))
    return digest.hexdigest()


def recall(folder: Path | None, key: str) -> list[str] | None:
    """The warnings of an earlier check with this key that found no faults; None if there was no such check."""
    if folder is None:
        return None
    try:
        content = json.loads((folder / f"{key}.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    warnings = content.get("warnings")
    return warnings if isinstance(warnings, list) and all(isinstance(text, str) for text in warnings) else None


def remember(folder: Path | None, key: str, warnings: Sequence[str]) -> bool:
    """Keep the warnings of a check without faults, and only the latest of many; False if that cannot be written."""
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{key}.json", json.dumps({"format": FORMAT, "warnings": list(warnings)}))
        ours = [path for path in folder.glob("*.json") if re.fullmatch("[0-9a-f]{40}", path.stem)]
        for old in sorted(ours, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:  # a full or read-only disk costs the next start a check, and this one nothing
        return False
    return True
