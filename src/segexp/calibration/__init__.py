"""Fit the parameters of the image generator to images of a microscope without annotation: `segexp calibrate`."""
