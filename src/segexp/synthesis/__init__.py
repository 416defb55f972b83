"""Generated micrographs with exact masks: vesicles and filaments as a fluorescence microscope shows them.

    images, masks = segexp.synthesis.generate("vesicle", count=10, size=512, seed=0)

`generate` returns images and masks; `generate_scenes` adds instance labels, centres, radii and centrelines; `tables`
returns the parameters that can be varied; `render` returns tensors on a device.
"""

from segexp.synthesis.foreground import Foreground
from segexp.synthesis.layout import TASKS, tables
from segexp.synthesis.optics import psf_sigma
from segexp.synthesis.scene import Scene, generate, generate_scenes, render

__all__ = ["TASKS", "Foreground", "Scene", "generate", "generate_scenes", "psf_sigma", "render", "tables"]
