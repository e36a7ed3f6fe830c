"""A network with what refines its scores, tiled over images of any size: image in, labels out, saved and loaded."""

from densefield.segmenter.segmenter import Segmenter

__all__ = ["Segmenter"]
