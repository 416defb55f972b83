"""The run in one sentence, and what to do next."""

from collections.abc import Mapping
from typing import Any

from segexp.report.metric_labels import label

PASSES = 30
"""Passes over the training images under which a longer run nearly always helps (LOG.md has five-minute runs)."""


def duration(seconds: float) -> str:
    """Seconds in words: 83 -> "1 min 23 s"."""
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds_left if not hours else 0, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def sentence(summary: Mapping[str, Any], facts: Mapping[str, Any], interval: tuple[float, float] | None = None) -> str:
    """What was trained on what, for how long, and how well it does."""
    data, model, best = facts.get("data", {}), facts.get("model", {}), summary.get("best", {})
    widths = "-".join(str(width) for width in model.get("settings", {}).get("widths", []))
    network = str(model.get("settings", {}).get("network", ""))  # of another package
    name = network.rpartition(".")[2] or str(model.get("name", "model")).replace("UNet", "U-Net")
    text = f"A {name}{f' ({widths})' if widths else ''} learned to find {summary['task']}s"
    text = text.replace("cytoskeletons", "the cytoskeleton")
    if "train" in data:
        kind = "generated image" if data.get("source") == "generated" else "image"
        text += f" from {count(data['train'], kind)}"
    if "seconds" in summary:
        text += f" in {duration(summary['seconds'])} ({count(summary['epochs'], 'pass', 'passes')})"
    if "dice" in best:
        on = f" on {count(data['val'], 'validation image')}" if "val" in data else ""
        text += f" and reaches a mean Dice of {best['dice']:.3f}{_sure(interval)}{on}"
    return text + "."


def evaluation_sentence(record: Mapping[str, Any], interval: tuple[float, float] | None = None) -> str:
    """Which model was scored on how many images, and how well it does."""
    name = str(record.get("model", "the model")).replace("\\", "/").rpartition("/")[2]
    dice = record.get("scores", {}).get("dice", {}).get("mean")
    text = f"{name}, scored on {count(len(record.get('images', [])), 'image')}"
    if dice is None:
        return text + "."
    return text + f", reaches a mean Dice of {dice:.3f}{_sure(interval)}."


def _sure(interval: tuple[float, float] | None) -> str:
    return f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""


def next_step(summary: Mapping[str, Any], worst: tuple[str, float] | None, warnings: int, monitor: str = "dice") -> str:
    """The one thing that is most likely to help now."""
    best, epochs = summary.get("best", {}), summary.get("epochs", 0)
    longer = "train longer (trainer.max_time, trainer.epochs)"
    if best.get("recall") == 0:
        return f"It finds nothing yet: {longer}, and check that the masks mark the intended structures."
    if best.get("dice", 1) < 0.5:
        return f"Not good enough to use: {longer}, and check whether the true outlines below follow what you see."
    if epochs < PASSES:
        text = f"It saw each training image about {count(epochs, 'time')}; {longer}: this nearly always helps."
    else:
        text = "Use it on your own images with the command under Use the model."
    if worst:
        text += f" Look at {worst[0]} first: it scores worst ({label(monitor)} {worst[1]:.3f})."
    return text + (" Read the warnings." if warnings else "")
