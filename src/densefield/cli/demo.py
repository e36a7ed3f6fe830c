"""`densefield demo`: the whole way in a few minutes, offline: train, measure on held-out scenes, segment, report."""

from __future__ import annotations

from pathlib import Path

from densefield.cli.terminal import plain_console


def demo(out: Path = Path("runs/demo"), *, epochs: int | None = None) -> int:
    """Train a small network on the embedded scenes, measure it on held-out ones and write a report worth opening.

    Parameters
    ----------
    out
        The folder for the run; a finished demo there is measured again, an interrupted one goes on.
    epochs
        Fewer for a quick look.
    """
    console = plain_console()
    console.print("densefield demo: handwriting over photographs, trained from nothing on this machine, offline.")
    console.print("loading torch ...")
    from densefield.cli.evaluate import evaluate
    from densefield.cli.train import train

    overrides = [] if epochs is None else ["--stages.0.epochs", str(epochs)]
    status = train("sample_fc_densenet56", *overrides, out=out, resume=True, bar=True)
    if status:
        return status
    console.print("\nmeasuring on held-out scenes: digits and photographs that training never saw")
    status = evaluate(out, split="test")
    console.print(f"next: densefield predict {out} YOUR_IMAGE.jpg --out segmented")
    return status
