"""Train a vesicle model with the older scripts' flags: `python train_vesicle_seg.py --help`."""

from segexp.legacy_cli import train_with_flags

if __name__ == "__main__":
    train_with_flags("vesicle", __file__)
