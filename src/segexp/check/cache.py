"""Remember that a data set was found sound, so that the next training on it starts at once.

The key is a hash of every file's path, size and time of change, of the settings that decide what is read, and of the
version of segexp. The memory is a folder of small JSON files in the user's cache, never inside the data; what does not
read as such a file is forgotten. Faults are never remembered: they are there to be mended.
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
    """Where the memory lies; None if the user has no home."""
    named = os.environ.get(VARIABLE)
    base = Path(named) if named else platformdirs.user_cache_path("segexp", appauthor=False, opinion=False)
    return base / "check" if named or base.is_absolute() else None


def fingerprint(sources: Sequence[Source], settings: str) -> str:
    """A hash of the files as they lie there now and of `settings`; a file that has gone raises OSError."""
    digest = hashlib.blake2b(f"{FORMAT} {__version__} {settings}".encode(), digest_size=20)
    for source in sources:
        digest.update(f"\n{source.split} {source.page} {source.mask_page}".encode())
        for path in (source.image, source.mask):
            if path is not None:
                facts = path.stat()
                digest.update(f"\n{facts.st_size} {facts.st_mtime_ns} ".encode() + os.fsencode(path.absolute()))
    return digest.hexdigest()


def recall(folder: Path | None, key: str) -> list[str] | None:
    """The warnings of an earlier check with this key that found no fault; None if there was none."""
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
