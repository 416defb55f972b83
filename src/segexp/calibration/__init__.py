"""Fit what the generator varies to images of a microscope, none of them annotated: `segexp calibrate`."""
