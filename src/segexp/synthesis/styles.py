"""The styles of generated images: how often each is drawn, and which rows of the tables it narrows.

The default weights suit models that are trained on generated images alone and applied to fluorescence micrographs. The
two styles that are dark on bright (`reflection`, `electron`) are therefore rare; select them by name if you need them.
A style of weight 0 is drawn only if it is selected by name.
"""

from segexp.synthesis.ranges import Style

VESICLE_STYLES: dict[str, Style] = {
    # Endosomes and lysosomes in dark cells: spots near the resolution limit, some cells far brighter than others
    "cells": Style(
        0.35,
        {
            "in_cells": (0.8, 1.0), "radius": (1.2, 3.5), "radius_spread": (0.1, 0.4), "coverage": (0.03, 0.6),
            "photons": (30.0, 6000.0), "haze": (0.002, 0.15), "background": (0.005, 0.2), "cell_contrast": (1.0, 20.0),
            "halo": (0.0, 0.15),
        },
    ),
    # Filled discs everywhere, on a bright uneven background, very noisy and partly saturated
    "field": Style(
        0.3,
        {
            "in_cells": 0.0, "cells": 0.0, "radius": (3.5, 10.0), "radius_spread": (0.2, 0.6), "coverage": (0.1, 0.6),
            "contrast": (2.0, 10.0), "background": (0.3, 1.6), "unevenness": (0.2, 0.9), "photons": (5.0, 100.0),
            "exposure": (0.4, 1.8), "psf": (0.4, 1.2), "halo": (0.0, 0.05), "blurred": (0.0, 0.1), "grain": (0.0, 0.05),
            "clustered": (0.0, 0.3), "rings": (0.0, 0.15), "flatness": (0.5, 1.0), "streaks": (0.0, 10.0),
            "subtracted": 0.0,
        },
    ),
    # Vacuoles, droplets, swollen endosomes: large and few, membranes labelled in many of them
    "large": Style(
        0.1,
        {
            "radius": (7.0, 22.0), "radius_spread": (0.1, 0.5), "coverage": (0.05, 0.4), "contrast": (1.5, 10.0),
            "elongation": (1.0, 1.8), "rings": (0.0, 0.7), "rim": (1.5, 4.0), "clustered": 0.0,
        },
    ),
    # Everything else the table allows, a few large compartments included
    "any": Style(0.2, {"radius": (1.2, 14.0), "coverage": (0.005, 0.3)}),
    # Transmission electron microscopy: dark membranes around lumens that are hardly darker than the cytoplasm, on a
    # textured grey; some vesicles have a dense core
    "electron": Style(
        0.05,
        {
            "dark": 1.0, "in_cells": 0.0, "cells": 0.0, "radius": (4.0, 14.0), "radius_spread": (0.05, 0.25),
            "coverage": (0.03, 0.4), "contrast": (1.2, 2.5), "rings": (0.8, 1.0), "rim": (1.2, 3.0),
            "lumen": (0.0, 0.6), "flatness": (0.7, 1.0), "elongation": (1.0, 1.4), "clustered": (0.0, 0.7),
            "cluster": (15.0, 60.0), "background": (1.1, 2.2), "unevenness": (0.0, 0.3),
            "grain": (0.05, 0.2), "grain_size": (2.0, 6.0),
            "photons": (30.0, 400.0), "read_noise": 0.0, "noise_blur": (0.3, 0.9), "exposure": (0.35, 0.75),
            "psf": (0.6, 1.3), "halo": 0.0, "blurred": 0.0, "vignetting": (0.0, 0.1), "bleaching": (0.0, 0.1),
            "hot_pixels": 0.0, "subtracted": 0.0, "streaks": (5.0, 60.0), "streak_width": (1.5, 4.0), "apart": 0.8,
            "membranes": (0.0, 25.0), "membrane_width": (1.5, 5.0), "bodies": (0.0, 4.0), "lumps": (0.0, 10.0),
        },
    ),
    # Giant vesicles in suspension, their membranes labelled: rings of all sizes side by side, lumps of lipid among them
    "giant": Style(
        0.0,
        {
            "in_cells": 0.0, "cells": 0.0, "radius": (4.0, 16.0), "radius_spread": (0.25, 0.6), "coverage": (0.1, 0.9),
            "contrast": (2.0, 12.0), "rings": 1.0, "rim": (1.0, 2.5), "lumen": (0.0, 0.2), "flatness": (0.6, 1.0),
            "elongation": (1.0, 1.25), "clustered": (0.0, 0.6), "cluster": (15.0, 60.0), "apart": 0.9,
            "blurred": (0.0, 0.5), "lumps": (0.0, 60.0), "background": (0.005, 0.15), "psf": (0.7, 1.8),
            "photons": (20.0, 3000.0), "exposure": (0.3, 1.8), "halo": (0.0, 0.25), "streaks": (0.0, 5.0),
        },
    ),
}  # fmt: skip

FILAMENT_STYLES: dict[str, Style] = {
    # Crossing filaments all over cells
    "network": Style(0.15, {"in_cells": (0.7, 1.0), "filaments": (60.0, 400.0), "persistence": (40.0, 500.0)}),
    # Fine dense filaments, some of them in thick bundles, in large cells that fill most of the image
    "mesh": Style(
        0.15,
        {
            "in_cells": (0.97, 1.0), "filaments": (150.0, 1000.0), "length": (40.0, 200.0), "width": (0.6, 1.1),
            "radial": 0.0, "leaving": (0.0, 0.03),
            "cells": (1.5, 4.0), "cell_radius": (120.0, 260.0), "cell_elongation": (1.2, 3.0), "order": (0.0, 0.8),
            "contrast": (3.0, 20.0), "persistence": (60.0, 500.0), "haze": (0.04, 0.6), "blurred": (0.0, 0.5),
            "psf": (0.7, 1.5), "bundle": (1.0, 1.5), "dotted": 0.0, "branches": (0.0, 0.5),
        },
    ),
    # Microtubules from a centrosome
    "aster": Style(
        0.1,
        {
            "in_cells": 1.0, "radial": (0.7, 1.0), "filaments": (60.0, 300.0), "length": (100.0, 400.0),
            "persistence": (150.0, 2000.0), "cell_radius": (70.0, 200.0), "spikes": 0.0,
        },
    ),
    # Stress fibres along the cell, many of them wide and hardly brighter than the haze; cortex and filopodia
    "stress": Style(
        0.2,
        {
            "in_cells": 1.0, "order": (0.75, 0.98), "radial": 0.0, "bundle": (1.0, 1.6), "persistence": (700.0, 8000.0),
            "curl": (0.0, 0.002), "filaments": (30.0, 300.0), "length": (80.0, 500.0), "width": (1.0, 4.5),
            "contrast": (2.0, 10.0), "cells": (0.5, 3.0), "cell_elongation": (1.2, 3.0), "cell_radius": (80.0, 400.0),
            "haze": (0.2, 2.0), "texture": (0.0, 0.4), "photons": (20.0, 4000.0), "psf": (0.9, 2.8), "dotted": 0.0,
            "broken": (0.0, 0.1), "cortex": (0.0, 0.2), "spikes": (0.0, 0.2), "blurred": (0.0, 0.8),
            "prominence": 0.08, "snr": 6.0,
        },
    ),
    # Straight fibres of several widths on a woven haze, among ruffles, spots and saturated edges
    "fibres": Style(
        0.2,
        {
            "in_cells": 1.0, "order": (0.7, 0.99), "radial": 0.0, "bundle": (1.0, 1.3), "curl": (0.0, 0.001),
            "persistence": (1500.0, 20000.0), "length": (100.0, 500.0), "filaments": (10.0, 150.0), "width": (1.2, 5.0),
            "width_spread": (0.1, 0.35), "contrast": (1.5, 6.0), "variation": (0.0, 0.3), "dotted": 0.0,
            "broken": (0.0, 0.1), "cells": (0.5, 2.5), "cell_radius": (120.0, 400.0), "cell_elongation": (1.0, 3.0),
            "haze": (0.08, 1.2), "texture": (0.0, 0.5), "grain": (0.0, 0.15), "cortex": (0.0, 0.15),
            "spikes": (0.0, 0.15), "blurred": (0.0, 0.8), "blobs": (0.0, 80.0), "tangle": (200.0, 2400.0),
            "tangle_light": (0.03, 0.3), "ruffles": (0.0, 25.0), "photons": (20.0, 4000.0), "psf": (0.9, 2.6),
            "exposure": (0.2, 1.8), "prominence": 0.1,
        },
    ),
    # Branched actin at the edge of a cell, with cortex and filopodia
    "cortex": Style(
        0.05,
        {
            "in_cells": 1.0, "cortex": (0.25, 0.6), "spikes": (0.05, 0.3), "radial": 0.0, "branches": (0.3, 2.0),
            "filaments": (30.0, 200.0), "length": (40.0, 200.0), "persistence": (150.0, 2000.0), "haze": (0.03, 0.6),
            "cells": (1.0, 3.0), "cell_radius": (80.0, 220.0), "dotted": 0.0,
        },
    ),
    # Short parallel filaments, side by side at even distances or not
    "array": Style(
        0.05,
        {
            "order": (0.9, 1.0), "spacing": (0.0, 14.0), "radial": 0.0, "cortex": 0.0, "spikes": 0.0,
            "length": (12.0, 120.0), "filaments": (60.0, 500.0), "persistence": (300.0, 3000.0), "curl": (0.0, 0.002),
            "contrast": (1.5, 15.0), "cells": (1.0, 3.0), "cell_radius": (100.0, 250.0), "cell_elongation": (1.2, 3.0),
        },
    ),
    # Purified filaments on a flat background
    "free": Style(
        0.1,
        {
            "in_cells": 0.0, "cells": 0.0, "filaments": (5.0, 80.0), "blurred": (0.0, 0.1), "unevenness": (0.0, 0.3),
            "contrast": (1.0, 3.0), "dotted": (0.0, 0.5),
        },
    ),
    # A few filaments in a hazy cell among blobs, on a noisy, uneven background
    "sparse": Style(
        0.2,
        {
            "in_cells": 1.0, "cells": (0.5, 1.5), "filaments": (15.0, 120.0), "length": (60.0, 300.0),
            "haze": (0.15, 1.4), "leaving": (0.0, 0.05), "background": (0.1, 1.2), "unevenness": (0.2, 0.9),
            "grain": (0.0, 0.06),
            "contrast": (1.2, 5.0), "photons": (20.0, 600.0), "exposure": (0.2, 0.8), "psf": (1.0, 2.2),
            "cell_radius": (90.0, 200.0), "cell_polygons": (0.5, 1.0), "nucleus": 0.0, "texture": (0.0, 0.15),
            "persistence": (60.0, 2000.0), "curl": (0.0, 0.015), "dotted": (0.0, 0.3), "cortex": 0.0, "spikes": 0.0,
            "blobs": (20.0, 120.0), "blob_radius": (2.5, 9.0), "jpeg": 0.5, "subtracted": 0.0,
        },
    ),
    # Unlabelled filaments in vitro, interference reflection: dark, or bright at another height, on an even grey
    "reflection": Style(
        0.05,
        {
            "dark": 0.75, "in_cells": 0.0, "cells": 0.0, "filaments": (5.0, 100.0), "persistence": (300.0, 5000.0),
            "curl": (0.0, 0.003), "contrast": (1.0, 2.0), "width": (0.8, 2.0), "dotted": 0.0, "broken": 0.0,
            "variation": (0.0, 0.2), "background": (1.3, 6.0), "unevenness": (0.0, 0.3), "grain": (0.01, 0.06),
            "grain_size": (2.0, 6.0), "photons": (30.0, 1500.0), "exposure": (0.3, 0.7), "psf": (0.9, 2.0),
            "halo": (0.0, 0.1), "blurred": (0.0, 0.1), "blobs": (0.0, 30.0), "blob_radius": (1.0, 3.0),
            "hot_pixels": 0.0, "subtracted": 0.0, "tangle": 0.0, "prominence": 0.08, "snr": 5.0,
        },
    ),
}  # fmt: skip
