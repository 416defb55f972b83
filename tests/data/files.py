"""Whole files read as training and prediction read them."""

from segexp.data.reading import locate, read_pixels
from segexp.io.images import open_image


def read_image_as(path, reading, page=None):
    """Pixels (channels, H, W) of a whole file as the settings say, and where they lie."""
    with open_image(path, reading.page_of(page), reading.channel) as file:
        place = locate(file, reading)
        return read_pixels(file, reading, place), place
