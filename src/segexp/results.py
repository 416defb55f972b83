"""What a run leaves behind when it ends: scores and pictures image by image, ``summary.json``, a closing table."""

import csv
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segexp import checkpoint
from segexp.data.pairs import Sample
from segexp.evaluation import Row, evaluate, summarize
from segexp.inference.predictor import Predictor
from segexp.overlay import Picture, overlay, write_png
from segexp.training.loop import TrainState
from segexp.training.runlog import RunLog, clock

PICTURES = 50
"""Validation images of which an overlay is written: enough to look at, and small enough to copy."""


def write_results(
    folder: Path,
    best_path: Path,
    predictor: Predictor,
    samples: list[Sample],
    state: TrainState,
    settings: dict[str, int | float | str],
    centreline: bool,
    log: RunLog,
) -> dict[str, float]:
    """Score the best model on the validation images and write the run's results; returns its scores.

    Args:
        folder: the run folder.
        best_path: the model file; its weights are put into `predictor`.
        settings: hyperparameters shown with the scores in TensorBoard.
        centreline: whether clDice is computed too.
    """
    network, content = checkpoint.load_model(best_path)
    predictor.model.load_state_dict(network.state_dict())
    (folder / "val").mkdir(exist_ok=True)

    def keep(index: int, sample: Sample, labels: NDArray) -> None:
        if index < PICTURES:
            image = sample_overlay(sample, labels, predictor)
            write_png(folder / "val" / f"{Path(sample.name).stem}.png", image)

    rows = evaluate(predictor, samples, centreline, look=keep)
    write_csv(folder / "val" / "scores.csv", rows)
    best = state.best | summarize(rows)
    best["epoch"] = int(best["epoch"])
    summary = {
        "task": content["task"],
        "seconds": round(state.elapsed, 2),
        "epochs": state.epoch,
        "best": best,
        "model": str(best_path),
    }
    write_json(folder / "summary.json", summary)
    log.hyperparameters(settings, {f"best/{name}": value for name, value in best.items() if name != "epoch"})
    log.stop_bar()
    log.record(f"best {best}; model {best_path}")
    if best["recall"] == 0:
        log.say(
            "warning: the best model finds no foreground at all. Train longer (trainer.epochs, trainer.max_time), "
            "look at the overlays in val/, and check that the masks mark what you mean."
        )
    print_summary(log.console, best, state, best_path)
    return best


def sample_overlay(sample: Sample, labels: NDArray, predictor: Predictor, largest: int = 2048) -> Picture:
    """A validation image with outlines of truth and prediction; every n-th pixel where it is over `largest`."""
    pixels, truth = sample.load()
    step = -(-max(truth.shape) // largest)
    reduced = pixels[:, ::step, ::step], truth[::step, ::step], labels[::step, ::step]
    return overlay(*reduced, len(predictor.classes))


def print_summary(console: Console, best: dict[str, float], state: TrainState, model: Path) -> None:
    """The closing table and the paths."""
    table = Table(box=None, header_style="bold")
    names = [name for name in ("dice", "dice_pooled", "iou", "precision", "recall", "cldice") if name in best]
    for name in ("best epoch", *names):
        table.add_column(name, justify="right")
    table.add_row(str(best["epoch"]), *(f"{best[name]:.4f}" for name in names))
    console.print(table)
    console.print(f"{state.epoch} epochs in {clock(state.elapsed)}; pictures in {model.parent / 'val'}", markup=False)
    console.print(f"model: {model}", markup=False)


def write_csv(path: Path, rows: list[Row]) -> None:
    """A table with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Indented, as people open it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
