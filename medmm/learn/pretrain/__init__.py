"""Encoders taught on what nobody labelled: notes, images, and pairs of both. What is left is a folder for `train`."""
