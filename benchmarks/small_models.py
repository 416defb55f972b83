"""Trains small models for some seconds on each of several data sets, for guarantee.py, misfit.py and suggest.py."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from segexp.config.compose import compose_config
from segexp.experiment.run import run
from segexp.inference.predictor import Predictor, load_model


def parser(description: str | None, seconds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that the three benchmarks share; `seconds` is the default of --seconds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", required=True, help="folders in DATA, each with train/ and val/, separated by commas")
    parser.add_argument("--seconds", type=int, default=seconds, help="training time of each model")
    return parser


def limit(seconds: int) -> str:
    """Return the override that ends a training after `seconds`."""
    minutes, rest = divmod(seconds, 60)
    return f"trainer.max_time=0:{minutes:02}:{rest:02}"


def train(folder: Path, *overrides: str) -> None:
    """Train a small network into the run folder `folder`; `overrides` name the data and the limit."""
    small = ["task=vesicle", "trainer=quick", "trainer.num_workers=0", "model.widths=[8,16,32]"]
    run(compose_config([*small, *overrides]), folder)


def models(data: Path, sets: list[str], seconds: int, val_fraction: float) -> Iterator[tuple[str, Predictor]]:
    """Yield for each set its name and the best model trained on ``train/``, of which `val_fraction` is for validation.

    The images of ``val/`` are new to the model: neither its weights nor its threshold depend on them.
    """
    for name in sets:
        part = data / name / "train"
        folders = (f"data.train_img_dir={part}/img", f"data.train_mask_dir={part}/mask")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "run"
            train(folder, limit(seconds), *folders, f"data.val_fraction={val_fraction}")
            model = load_model(folder / "best_vesicle_model.pth", "cpu")
        yield name, model
