"""The road from a model's name to its first picture, with the time of each part."""
