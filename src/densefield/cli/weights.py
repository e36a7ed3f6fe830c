"""`densefield weights import`: a file of released weights becomes a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from densefield.cli.terminal import plain_console

if TYPE_CHECKING:
    from densefield.built import Words
    from densefield.weights import Imported

Colors: TypeAlias = Annotated[tuple[float, float, float] | None, Parameter(negative=())]


FLAGS = ("--network.kind", "--classes", "--out", "--partial", "--mean", "--std")


def import_file(
    file: Path,
    *network: Annotated[str, Parameter(allow_leading_hyphen=True)],
    classes: Path,
    out: Path,
    partial: bool = False,
    mean: Colors = None,
    std: Colors = None,
) -> int:
    """Fill a network with released weights (Caffe's, torchvision's, other projects') and save it as a segmenter.

    Prints which layer of the file became which of the network; writes nothing where one is missing or does not fit.

    Parameters
    ----------
    file
        A .caffemodel, .safetensors, or PyTorch file (.pth, .pt, .bin, .ckpt).
    network
        The network as recipes name it: --network.kind deeplab_largefov --network.rate 12; see densefield kinds.
    classes
        The class list (YAML) of what the network tells apart, in its order.
    out
        A .safetensors file, or a folder to save into.
    partial
        Leave what the file lacks, or has in another shape, as a new network has it: for other classes, or an encoder.
    mean
        What was taken off red, green and blue in [0, 1], where the file is of no known convention.
    std
        What they were divided by then.
    """
    import torch

    from densefield.checks import check, counted
    from densefield.classes import ClassList
    from densefield.runs.start import listed
    from densefield.segmenter import Segmenter
    from densefield.segmenter.description import paths_to_save
    from densefield.weights import Scaling, import_weights

    console = plain_console()
    check((mean is None) == (std is None), "mean, std: wanted both or neither")
    words = _words(network)
    named = ClassList.read(classes)
    paths_to_save(out)  # better said now than after all layers
    with torch.device("meta"):  # what does not fit is told before a network is set aside
        sketch = words.build(len(named), 3)
    import_weights(sketch, file, partial=partial)
    filled = words.build(len(named), 3)
    imported = import_weights(filled, file, partial=partial)
    scaling = imported.scaling or Scaling((0.0,) * 3, (1.0,) * 3)
    if mean is not None and std is not None:
        scaling = Scaling(mean, std)
    Segmenter(filled, named, mean=scaling.mean, std=scaling.std).save(out)
    for line in _layer_map(imported):
        console.print(line)
    if imported.beyond:
        console.print(
            f"warning: {counted(len(imported.beyond), 'layer')} of the file not used, first {imported.beyond[0]}: right"
            " for an encoder alone; else the file is of a deeper or another form of the network"
        )
    console.print(
        f"images: (value - mean) / std of RGB in [0, 1], mean {listed(scaling.mean)}, std {listed(scaling.std)}"
    )
    if imported.scaling is None and mean is None:
        console.print("how the file's network read images is not known; say it with --mean and --std if it is not that")
    console.print(f"layers filled: {len(imported.matched)}; segmenter in {out}")
    return 0


def _words(flags: Sequence[str]) -> Words:
    """The network that `--network.kind unet --network.width 32` names, checked as a recipe's."""
    from densefield.checks import InputError, check, likely
    from densefield.runs.kinds import NETWORKS
    from densefield.runs.overrides import laid_over

    check(not flags or flags[0].startswith("--"), f"{''.join(flags[:1])}: wanted one file")
    others = [flag for flag in flags if flag.startswith("--") and not flag.startswith(("--network.", "--network="))]
    if others:
        raise InputError(f"{others[0]}: is not known{likely(others[0], FLAGS)} Wanted some of: {', '.join(FLAGS)}")
    plain = laid_over({}, flags, "the network")
    check("network" in plain, "--network.kind: wanted, such as deeplab_largefov; densefield kinds lists them")
    return NETWORKS.read(plain["network"], "network")


def _layer_map(imported: Imported) -> Iterator[str]:
    """The layers of the file beside ours, then what was left out on either side."""
    from densefield.checks import counted

    rows = [(row.layer, row.ours, _shape(row.shape), row.how) for row in imported.matched]
    rows += [(row.layer, row.ours, _shape(row.shape), f"not filled: {row.how}") for row in imported.misshapen]
    rows += [("-", name, "", "not filled: missing in the file") for name in imported.missing]
    rows += [(name, "-", "", "not used") for name in imported.unused]
    rows.insert(0, ("file", "network", "shape", ""))
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    for layer, ours, shape, how in rows:
        yield f"{layer:{first}}  {ours:{second}}  {shape:{third}}  {how}".rstrip()
    if imported.copies:
        yield f"skipped, as copies for other scales: {counted(len(imported.copies), 'layer')}"


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
