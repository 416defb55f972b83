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

SHOWS = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--version"}
"""Flags of Hydra that show something and train nothing: no folder is needed."""


def parser(task: str, required: bool = True) -> argparse.ArgumentParser:
    """The flags, in both spellings (``--batch-size``, ``--batch_size``); `required`: the folders have to be given."""
    flags = argparse.ArgumentParser(
        description=f"Train a U-Net for {task} segmentation. Further arguments are Hydra overrides.",
        epilog="Example: %(prog)s --train-img-dir data/train/img --train-mask-dir data/train/mask "
        "--val-img-dir data/val/img --val-mask-dir data/val/mask --epochs 100 model=unet",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(flag: str, help_text: str, **more: object) -> None:
        spellings = dict.fromkeys((flag, "--" + flag[2:].replace("-", "_")))
        flags.add_argument(*spellings, help=help_text, **more)  # type: ignore[arg-type]

    for flag, text in _FOLDERS.items():
        add(flag, text, required=required, metavar="DIR", default=argparse.SUPPRESS)
    add("--epochs", "Total number of training epochs.", type=int, default=50)
    add("--batch-size", "Number of samples per batch.", type=int, default=4)
    add("--lr", "Learning rate for the optimizer.", type=float, default=0.001)
    add("--num-workers", "Number of worker processes for data loading.", type=int, default=4)
    add(
        "--device",
        "Device to train on: cuda, cuda:0, cpu (default: cuda, and cpu where there is no CUDA).",
        default=argparse.SUPPRESS,
    )
    add("--output-dir", "Directory to save model checkpoints.", default="checkpoints", metavar="DIR")
    return flags


def overrides(task: str, arguments: list[str]) -> list[str]:
    """Hydra overrides for the flags in `arguments`, followed by the arguments that are not flags."""
    asks = bool({word.partition("=")[0] for word in arguments} & SHOWS)
    known, rest = parser(task, required=not asks).parse_known_args(arguments)
    names = [flag[2:].replace("-", "_") for flag in _FOLDERS]
    keys = {
        **{f"data.{name}": quote(getattr(known, name)) for name in names if hasattr(known, name)},
        "trainer.epochs": known.epochs,
        "trainer.batch_size": known.batch_size,
        "trainer.lr": known.lr,
        "trainer.num_workers": known.num_workers,
        "trainer.device": quote(getattr(known, "device", "auto")),
        "output_dir": quote(known.output_dir),
    }
    return [f"task={task}", *(f"{k}={v}" for k, v in keys.items()), *rest]


def train_with_flags(task: str, script: str | None = None) -> None:
    """Run `segexp.train.main` on the command line's flags, with the settings in ``conf/`` beside `script`."""
    main(overrides(task, sys.argv[1:]), script)
