"""A confusion matrix as an inline SVG heat-map, and its largest confusions in words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

CELL = 34
BELOW = "rows: the target’s class, columns: the prediction, in % of the row"
MOST_CLASSES = 60  # more cells than that are neither legible nor light


def heat_map(
    counts: NDArray[np.int64],  # (K, K), rows are the target's classes
    names: Sequence[str],  # K
    kept: NDArray[np.intp] | None = None,
) -> str:
    """Each row's shares as cells: blue on the diagonal, orange off it, the more the stronger; figures on hovering.

    Rows sum to 100 %, so that rare classes show as clearly as frequent ones; `kept` draws only these classes, as
    shares of all. A class absent from the target has an empty row. Names are plain text and are escaped here.
    """
    kept = np.arange(len(names)) if kept is None else kept
    shares = (counts / np.maximum(counts.sum(1, keepdims=True), 1))[np.ix_(kept, kept)]
    counts = counts[np.ix_(kept, kept)]
    names = [names[number] for number in kept]
    num_classes = len(names)
    shown = [_shortened(name) for name in names]
    longest = max(_pixels(name) for name in shown)
    left = 12 + round(longest)
    top = 18 + round(longest / 2**0.5)  # slanted titles, and the height of their letters
    # The last slanted column title leans out of the grid.
    width = max(left + CELL * num_classes + top, left + round(_pixels(BELOW)))
    height = top + CELL * num_classes + 26
    parts = []
    for i, name in enumerate(shown):
        y = top + CELL * i
        x = left + CELL * i + CELL / 2
        parts.append(f'<text x="{left - 8}" y="{y + CELL / 2 + 4.5}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<text x="{x + 4}" y="{top - 8}" transform="rotate(-45 {x + 4} {top - 8})">{escape(name)}</text>')
        for j in range(num_classes):
            share = float(shares[i, j])
            color = "var(--good)" if i == j else "var(--bad)"
            # A square root lifts the few per cent of a confusion above the ground.
            strength = share**0.5 if share > 0.0005 else 0.0
            title = escape(f"{names[i]} taken for {names[j]}" if i != j else f"{names[i]} found", quote=True)
            pixels = f"{int(counts[i, j]):,}".replace(",", " ")
            parts.append(
                f"<g><title>{title}: {100 * share:.2f} % of its pixels ({pixels})</title>"
                f'<rect class="cell" x="{left + CELL * j + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}"'
                f' rx="4"/>'
            )
            if strength:
                parts.append(
                    f'<rect x="{left + CELL * j + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" rx="4"'
                    f' fill="{color}" fill-opacity="{strength:.3f}"/>'
                )
            if share >= 0.005:
                # Strong cells are dark on light ground and light on dark ground: the card's color reads on both.
                ink = "var(--card)" if strength > 0.62 else "var(--ink)"
                parts.append(
                    f'<text x="{left + CELL * j + CELL / 2}" y="{y + CELL / 2 + 4}" text-anchor="middle"'
                    f' font-size="11.5" style="fill:{ink}">{100 * share:.0f}</text>'
                )
            parts.append("</g>")
    below = top + CELL * num_classes + 18
    parts.append(f'<text class="soft" x="{left}" y="{below}">{BELOW}</text>')
    return (
        f'<div class="scroll"><svg class="matrix" viewBox="0 0 {width} {height}" width="{width}" font-size="12.5"'
        f' role="img" aria-label="Confusion matrix, each row in per cent">{"".join(parts)}</svg></div>'
    )


def largest_confusions(
    counts: NDArray[np.int64],  # (K, K), rows are the target's classes
    *,
    most: int = 8,
) -> list[tuple[int, int, float]]:
    """(target's class, predicted class, share of the target's pixels) off the diagonal, largest pixel counts first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    totals = counts.sum(1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, wrong.shape)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(i, j, float(wrong[i, j] / totals[i])) for i, j in pairs if wrong[i, j]]


def _shortened(name: str, most: int = 18) -> str:
    """A class name that fits beside the grid."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _pixels(text: str) -> float:
    """No less than the width of `text` on the page: no font is at hand to ask, and readers' fonts differ."""
    return sum(
        13.0 if unicodedata.east_asian_width(sign) in "WF" or sign in "WMmw@%…" else 9.5 if sign.isupper() else 7.2
        for sign in text
    )
