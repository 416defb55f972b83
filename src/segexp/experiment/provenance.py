"""The origin of a result: versions, commit, data. Written to ``run.json`` and into model files."""

import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from segexp import __version__
from segexp.data.dataset import Sample

PACKAGES = ("torch", "kornia", "numpy", "opencv-python-headless", "hydra-core", "omegaconf", "scipy", "tifffile")


def versions() -> dict[str, str]:
    """Versions of segexp, Python and the packages that a result depends on."""
    installed = {package.metadata["Name"]: package.version for package in metadata.distributions()}
    found = {name: installed.get(name, "not from PyPI") for name in PACKAGES}
    return {"segexp": __version__, "python": platform.python_version()} | found


def git_commit() -> str | None:
    """Commit of the checkout that this package runs from, with ``+`` if files were changed; None without one."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    place = Path(__file__).resolve().parents[3]
    if not (place / "pyproject.toml").is_file():  # installed: the repository around it, if any, is not ours
        return None
    try:
        answer = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=10)  # noqa: S603 fixed words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


@functools.cache
def code_version() -> str:
    """SHA-256 over the source files of this package: it changes with the code, committed or not."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def contents(samples: Iterable[Sample]) -> str:
    """SHA-256 over names and every pixel of images and labels, as they are read."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name} {sample.digest}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def fingerprint(samples: Iterable[Sample]) -> str:
    """SHA-256 over names, shapes, dtypes, class counts and intensity statistics of the data."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name} {sample.shape} {sample.dtype} {sample.class_pixels.tolist()}".encode())
        digest.update(sample.offset.tobytes() + sample.scale.tobytes())
    return digest.hexdigest()
