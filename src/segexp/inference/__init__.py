"""From a model and an image of any size to probabilities and masks."""
