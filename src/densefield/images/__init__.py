"""Pictures and masks in files of any kind: which files are meant, what they hold, and how it is written back."""

from densefield.images.bands import AS_DECLARED, LUMINANCE, Pixels, Reading
from densefield.images.decoding import Source
from densefield.images.pictures import read_image, read_labels, write_image, write_labels, write_labels_like

__all__ = [
    "AS_DECLARED",
    "LUMINANCE",
    "Pixels",
    "Reading",
    "Source",
    "read_image",
    "read_labels",
    "write_image",
    "write_labels",
    "write_labels_like",
]
