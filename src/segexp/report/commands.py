"""Suggested next commands: predict with the model, train it again, measure its robustness."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segexp.report.records import ROBUSTNESS, Records


def commands(records: Records, measure: bool = True) -> list[tuple[str, str]]:
    """Descriptions and commands; `measure`: include the one for robustness."""
    model, folder = shlex.quote(str(records.summary.get("model", "MODEL"))), str(records.folder)
    place = records.facts.get("cwd")
    where = f"; typed in {place}" if place else ""
    again = f"Train it again in a new folder with the same data and seed{where}:"
    lines = [
        (
            "Predict masks of your own images; replace IMAGES by their folder:",
            f"segexp predict --model {model} --input IMAGES --output MASKS",
        ),
        (again, command(records.facts, records.flags)),
    ]
    if measure:
        data, output = shlex.quote(data_folder(records.facts)), shlex.quote(f"{folder}/{ROBUSTNESS}")
        evaluate = f"segexp evaluate --model {model} --data {data} --robustness --output {output}"
        text = "Measure its robustness against brightness, noise, blur and more, and show it on this page:"
        lines.append((text, f"{evaluate} && segexp report {shlex.quote(folder)}"))
    return lines


def command(facts: dict[str, Any], flags: Sequence[str] = ()) -> str:
    """The command that repeats a run in a new folder; for a sweep, this job alone.

    Args:
        facts: of ``run.json``.
        flags: those that say where options come from, which the overrides lack.
    """
    overrides = facts.get("overrides")
    overrides = [*flags, *overrides] if overrides else facts.get("command", [])[1:]
    places = (
        "output_dir=",
        "hydra.run.dir=",
        "hydra.sweep.dir=",
        "resume=",
        "overwrite=",
        "sweep.",
        "-m",
        "--multirun",
    )
    return shlex.join(["segexp", "train", *(item for item in overrides if not item.startswith(places))])


def data_folder(facts: dict[str, Any]) -> str:
    """The folder for ``segexp evaluate --data``: where val/img and val/mask lie, else a word to replace."""
    source = facts.get("data", {}).get("source")
    if not isinstance(source, dict):
        return "DATA"
    images, masks = (Path(str(source.get(f"val_{kind}_dir", ""))) for kind in ("img", "mask"))
    usual = images.name == "img" and masks == images.with_name("mask")
    return str(images.parent.parent if images.parent.name == "val" else images.parent) if usual else "DATA"
