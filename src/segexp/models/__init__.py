"""The networks. A checkpoint names one of `MODELS` and its keyword arguments, and nothing else can be built from it."""

from segexp.models.unet import UNet

MODELS = {"UNet": UNet}

__all__ = ["MODELS", "UNet"]
