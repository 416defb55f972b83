"""The command line of the older scripts: their flags become Hydra overrides, and anything else is passed on.

Used by `train_cytoskeleton_seg.py` and `train_vesicle_seg.py`.
"""

import argparse
import sys

from segexp.config.overrides import quote
from segexp.train import main

_FOLDERS = {
    "--train-img-dir": "Path to the training images directory.",
    "--train-mask-dir": "Path to the training masks directory (.npy files).",
    "--val-img-dir": "Path to the validation images directory.",
    "--val-mask-dir": "Path to the validation masks directory (.npy files).",
}

TRAINER = ("epochs", "batch_size", "lr", "num_workers", "device")
SHOWS = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--version"}
"""Flags of Hydra that only show something, so that no folder is needed."""


def parser(task: str, required: bool = True) -> argparse.ArgumentParser:
    """The flags, in both spellings (``--batch-size``, ``--batch_size``); `required`: whether folders must be given."""
    flags = argparse.ArgumentParser(
        description=f"Train a U-Net for {task} segmentation. Further arguments are Hydra overrides.",
        epilog="Example: %(prog)s --train-img-dir data/train/img --train-mask-dir data/train/mask "
        "--val-img-dir data/val/img --val-mask-dir data/val/mask --epochs 100 model=unet",
        allow_abbrev=False,
    )

    def add(flag: str, help_text: str, **more: object) -> None:
        spellings = dict.fromkeys((flag, "--" + flag[2:].replace("-", "_")))
        flags.add_argument(*spellings, help=help_text, **more)  # type: ignore[arg-type]

    for flag, text in _FOLDERS.items():
        add(flag, text, required=required, metavar="DIR", default=argparse.SUPPRESS)
    # a flag that is not typed leaves the setting to conf/trainer/default.yaml, or to an option such as trainer=quick
    add("--epochs", "Total number of training epochs (default: 50).", type=int, default=argparse.SUPPRESS)
    add("--batch-size", "Number of samples per batch (default: 4).", type=int, default=argparse.SUPPRESS)
    add("--lr", "Learning rate for the optimizer (default: 0.001).", type=float, default=argparse.SUPPRESS)
    add(
        "--num-workers",
        "Number of worker processes for data loading (default: 4).",
        type=int,
        default=argparse.SUPPRESS,
    )
    add(
        "--device",
        "Device to train on: cuda, cuda:0, cpu (default: cuda, and cpu if there is no CUDA).",
        default=argparse.SUPPRESS,
    )
    add(
        "--output-dir",
        "Directory to save model checkpoints (default: checkpoints).",
        default="checkpoints",
        metavar="DIR",
    )
    return flags


def overrides(task: str, arguments: list[str]) -> list[str]:
    """Hydra overrides for the flags in `arguments`, followed by the arguments that are not flags."""
    asks = bool({word.partition("=")[0] for word in arguments} & SHOWS)
    known, rest = parser(task, required=not asks).parse_known_args(arguments)
    folders = [f"data.{flag[2:].replace('-', '_')}" for flag in _FOLDERS]
    keys = [*folders, *(f"trainer.{name}" for name in TRAINER), "output_dir"]
    typed = {key: getattr(known, name) for key in keys if hasattr(known, name := key.rpartition(".")[2])}
    words = [f"{key}={quote(value) if isinstance(value, str) else value}" for key, value in typed.items()]
    return [f"task={task}", *words, *rest]


def train_with_flags(task: str, script: str | None = None) -> None:
    """Run `segexp.train.main` on the command line's flags, with the settings in ``conf/`` beside `script`."""
    main(overrides(task, sys.argv[1:]), script)
