"""Fingerprints of everything that determines a job's result: see `segexp.sweep.job_store.Identity`."""

import hashlib

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segexp.config import RunConfig, read
from segexp.config.fingerprint import NOT_SETTINGS, settings_fingerprint
from segexp.config.folders import existing
from segexp.data import splits
from segexp.errors import InputError
from segexp.experiment import provenance
from segexp.sweep.job_store import Identity, data_fingerprint
from segexp.sweep.weights import start_file


def identify(cfg: DictConfig) -> Identity:
    """Fingerprints of a composed configuration; its ``hydra`` section, if any, is left out.

    Settings that cannot be read have no data fingerprint: the job itself reports the error.
    """
    kept = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in NOT_SETTINGS])
    try:
        settings = OmegaConf.to_container(kept, resolve=True)
    except OmegaConfBaseException:
        settings = OmegaConf.to_container(kept, resolve=False)
    assert isinstance(settings, dict)
    try:
        whole = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        data = data_of(read(whole))
    except (InputError, OSError):
        data = "unreadable"
    named = {str(key): value for key, value in settings.items()}
    return Identity(settings_fingerprint(named), data, provenance.code_version())


def data_of(cfg: RunConfig) -> str:
    """Fingerprint of the data set, and of the content of what ``data.split``, ``ranges`` and ``model.weights`` name."""
    digest = data_fingerprint(cfg.data.all_folders())
    named = [existing(path) for path in (cfg.data.split, cfg.data.synthetic.ranges) if path]
    files = [path / splits.FILE if path.is_dir() else path for path in named]
    weights = start_file(cfg, lambda line: None)
    for path in [*files, weights] if weights else files:
        digest = hashlib.sha256(f"{digest} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode()).hexdigest()
    return digest
