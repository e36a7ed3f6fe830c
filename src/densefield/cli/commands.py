"""The commands in one table, so that the list of them is shown without importing one."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command lies, the first line of what it says of itself, and whether its imports take seconds."""

    place: str
    summary: str
    slow: bool = False


COMMANDS = {
    "demo": Command(
        "demo:demo",
        "Train a coarse network on embedded scenes, alone and with a dense CRF, and report both: minutes, offline.",
    ),
    "train": Command("train:train", "Train RECIPE: a built-in name or a YAML file.", slow=True),
    "evaluate": Command(
        "evaluate:evaluate",
        "Measure RUN on one split of its data: one confusion matrix summed over all images.",
        slow=True,
    ),
    "predict": Command(
        "predict:predict",
        "Segment images of any size: OUT/NAME.png holds each pixel's class as a palette PNG.",
        slow=True,
    ),
    "affinity": Command(
        "affinity:affinity",
        "Draw a pixel's patch, its embeddings, its mask in the embedding filter, and the mask of its colors alone.",
        slow=True,
    ),
    "refine": Command("refine:refine", "Sharpen rough masks or scores with a dense CRF."),
    "refine search": Command(
        "refine_search:search",
        "Try settings of the dense CRF on labelled images and rank them by mean IoU over all pixels together.",
    ),
    "kinds": Command(
        "kinds:kinds",
        "List the kinds that recipes can name, or the keys of one: what each takes, its bounds and its default.",
    ),
    "export": Command(
        "export:export",
        "Write RUN's network as ONNX: image (B, C, H, W) in [0, 1] in, scores out, any batch, height and width.",
        slow=True,
    ),
    "weights import": Command(
        "weights:import_file",
        "Fill a network with released weights (Caffe's, torchvision's, other projects') and save it as a segmenter.",
    ),
    "data import": Command(
        "data_import:import_folder",
        "Write images and labels of a labelling tool or a published set as one folder: images, masks, classes.yaml.",
    ),
    "data check": Command(
        "data:check",
        "Check a folder of images and masks before training; ends with 0 when all is well, with 2 when it is not.",
    ),
}
