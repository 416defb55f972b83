"""U-Nets for filaments and vesicles: train, look, predict.

The names below are the public ones for notebooks. They are imported when first used, so that predicting with a
finished model loads neither Hydra nor Kornia.
"""

__version__ = "0.1.0"
