"""`densefield export`: a segmenter's network as an ONNX file."""

from __future__ import annotations

from pathlib import Path

from densefield.cli.flags import Trust, trusted
from densefield.cli.terminal import plain_console


def export(run: Path, *, out: Path, check: bool = False, without_refinement: bool = False, trust: Trust = None) -> int:
    """Write RUN's network as ONNX: image (B, C, H, W) in [0, 1] in, scores out, any batch, height and width.

    Parameters
    ----------
    run
        A training run's folder, or a .safetensors file.
    out
        The .onnx file.
    check
        Run it with onnxruntime on three sizes first, and say how far its scores are from the network's; over 1e-4 (of
        the largest score, where that is above 1) nothing is written.
    without_refinement
        Leave the segmenter's refinement out, which ONNX does not have.
    """
    from densefield.checks import InputError
    from densefield.files import atomic_write
    from densefield.segmenter import Segmenter
    from densefield.segmenter.export import check_export, export_onnx

    segmenter = Segmenter.load(run, trust=trusted(trust))
    if segmenter.refinement is not None and not without_refinement:
        kind = type(segmenter.refinement).__name__
        raise InputError(f"{run}: its {kind} cannot be exported; leave it out with --without-refinement")
    if out.suffix != ".onnx":
        raise InputError(f"{out}: wanted a .onnx file")
    model = export_onnx(segmenter)
    console = plain_console()
    if check:
        found = check_export(segmenter, model)
        for (height, width), difference in found.items():
            console.print(
                f"{height}×{width}: scores differ by {difference.most:.1e} at most, of up to {difference.largest:.1e}"
            )
        if not any(difference.largest for difference in found.values()):
            console.print("all scores are 0: the check shows nothing; train, or import weights first")
    with atomic_write(out) as file:
        file.write(model)
    console.print(f"ONNX in {out}")
    return 0
