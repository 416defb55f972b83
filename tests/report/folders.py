"""Folders as a finished run and a finished sweep leave them, without training anything."""

import csv
import json
from types import SimpleNamespace

import numpy as np

from segexp.data.dataset import make_sample
from segexp.evaluation import evaluate_fully, summarize
from segexp.evaluation.io import evaluation_record, write_scores
from segexp.viz.thumbnails import budget, make_picture, write_pictures

STAMP = "2026-11-25 10:00:00"
POINT = {"threshold": 0.4, "min_size": 12, "temperature": 1.25, "chosen_on": "validation", "criterion": "dice"}
POINT |= {"notes": [], "curve": {"threshold": [0.2, 0.4, 0.6], "score": [0.8, 0.9, 0.85]}}
ROBUSTNESS = {
    "intensity": {
        "words": "intensity factor",
        "unit": "",
        "parameter": [0.001, 1, 65000],
        "score": [0.7, 0.9, 0.88],
        "interval": [[0.6, 0.8], [0.85, 0.95], [0.8, 0.9]],
        "range": [1, 65000],
        "number": 0.83,
    }
}


def write_run(folder, images=4, size=96, names=None, warnings=(), make=None, **facts):
    """A run on discs: image k's prediction is its truth moved by k pixels, so image 0 is best and the last is worst."""
    (folder / "val").mkdir(parents=True)
    names = names or [f"cell_{index:02}.tif" for index in range(images)]
    predictor = SimpleNamespace(classes=["vesicle"], labels=lambda maps: (maps[0] > 0.5).astype(np.uint8))
    samples = [make_sample(name, *(make or disc)(index, size), 1) for index, name in enumerate(names)]
    maps = [np.roll(sample.labels, index, axis=1)[None] * 0.8 + 0.1 for index, sample in enumerate(samples)]
    pictures = []

    def keep(index, sample, labels):
        pictures.append(make_picture(sample.name, *sample.load(), labels, ["vesicle"], budget(len(names))))

    found = evaluate_fully(
        predictor, samples, ["probability", "object"], on_image=keep, probabilities=lambda index, _: maps[index]
    )
    record = evaluation_record(
        found,
        task="vesicle",
        model="m.pth",
        classes=["vesicle"],
        monitor="dice",
        operating_point=POINT,
        robustness=ROBUSTNESS,
    )
    write_scores(found.rows, record, folder / "val" / "scores.csv", folder / "val" / "evaluation.json")
    write_pictures(folder / "val" / "pictures.json", pictures)
    best = summarize(found.rows) | {"epoch": 3}
    model = str(folder / "best_vesicle_model.pth")
    summary = {"task": "vesicle", "seconds": 83.4, "epochs": 7, "best": best, "model": model}
    (folder / "summary.json").write_text(json.dumps(summary))
    run = {
        "task": "vesicle",
        "overrides": ["task=vesicle", "trainer.lr=0.002", f"output_dir={folder}"],
        "changed": {"trainer.lr": [0.001, 0.002]},
        "monitor": "dice",
        "seed": 0,
        "model": {"name": "UNet", "settings": {"widths": [16, 32]}},
        "data": {"source": "generated", "train": 8, "val": len(names)},
        "versions": {"torch": "2.13.0"},
    }
    (folder / "run.json").write_text(json.dumps(run | facts))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "seconds", "lr", "train_loss", "bce", "dice", "iou"])
        for epoch in range(1, 8):
            scores = [0.5 / epoch, 1 - 0.5 / epoch, 1 - 0.6 / epoch] if epoch % 2 else ["", "", ""]
            writer.writerow([epoch, 10 * epoch, 12.0 * epoch, 0.002 / epoch, 1 / epoch, *scores])
    lines = [f"{STAMP} epoch 1 loss 1.0", *(f"{STAMP} warning: {text}" for text in warnings)]
    (folder / "train.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def disc(index, size):
    """A noisy 16-bit disc (1, size, size) and its labels."""
    rows, columns = np.mgrid[:size, :size]
    truth = ((rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 4) ** 2).astype(np.uint8)
    noise = np.random.default_rng(index).poisson(400, (size, size))
    return (noise + 9000.0 * truth).astype(np.uint16)[None], truth


def write_sweep(folder, rows=None):
    """Three jobs of two rates and a fourth that failed; only job 0 has a page."""
    rows = rows or [
        [0, "done", 0.81, 12.5, "0.001", "2", "0", ""],
        [1, "done", 0.9, 11.5, "0.01", "2", "1", ""],
        [2, "done", 0.7, 10.5, "0.001", "4", "2", ""],
        [3, "failed", "", "", "0.01", "4", "3", "trainer.lr: <b>wrong</b>"],
    ]
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "report.html").write_text("<p>job</p>")
    with (folder / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["job", "status", "score", "seconds", "trainer.lr", "trainer.batch_size", "folder", "message"])
        writer.writerows(rows)
    return folder
