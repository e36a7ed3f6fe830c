"""Images with their label masks: one dataset a layout, all of them giving `Sample`s."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from densefield.data.audit import Audit as Audit
    from densefield.data.camvid import CamVid as CamVid
    from densefield.data.cell_images import CellImages as CellImages
    from densefield.data.folder import Folder as Folder
    from densefield.data.sample import Sample as Sample
    from densefield.data.sample_scenes import SampleScenes as SampleScenes
    from densefield.data.sample_scenes import samples as samples
    from densefield.data.slic import superpixels as superpixels

_HOMES = {
    "Audit": "audit",
    "CamVid": "camvid",
    "CellImages": "cell_images",
    "Folder": "folder",
    "Sample": "sample",
    "SampleScenes": "sample_scenes",
    "samples": "sample_scenes",
    "superpixels": "slic",
}

__all__ = ["Audit", "CamVid", "CellImages", "Folder", "Sample", "SampleScenes", "samples", "superpixels"]


def __getattr__(name: str) -> Any:
    # Lazy, so that reading a folder of PNGs does not import scikit-learn.
    if name in _HOMES:
        return getattr(importlib.import_module(f"densefield.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'densefield.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
