"""The networks. A checkpoint names one of `MODELS` and its keyword arguments, and nothing else can be built from it.

`External` is a network of another package, whose class the file names too: see there for who may build it.
"""

from segexp.models.external import External
from segexp.models.unet import UNet

MODELS = {"UNet": UNet, "External": External}
Network = UNet | External

__all__ = ["MODELS", "External", "Network", "UNet", "trusted"]


def trusted(model: Network) -> tuple[str, ...]:
    """The names that a program which already uses this network may allow when it opens the network's file again."""
    return (model.settings["network"],) if isinstance(model, External) else ()
