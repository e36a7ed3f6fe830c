"""The page around a report's sections: one HTML document with its style inside, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# Colors are variables, so that charts drawn with them follow the reader's light or dark preference. The series'
# colors keep apart for the color-blind, on both grounds.
STYLE = """
:root { color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --ink: #17191d; --soft: #5d6470; --rule: #e1e4e9; --track: #eceef2;
  --good: #1f77b4; --bad: #d9480f; --s1: #1f6fb2; --s2: #d9600f; --s3: #2a8f5b; --s4: #9a4fb0; --s5: #a8761c; --s6:
    #c2364f; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #111317; --card: #1a1d23; --ink: #e9ebef; --soft: #9aa2af; --rule: #2c313a; --track: #282c34;
  --good: #5aa9e6; --bad: #ff8a4c; --s1: #5aa9e6; --s2: #ff9a56; --s3: #57c48c; --s4: #c98be0; --s5: #dcb04f; --s6:
    #f07389; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 56px; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0 0 10px; letter-spacing: -0.015em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 4px; letter-spacing: -0.01em; }
h3 { font-size: 0.95rem; margin: 0 0 6px; font-weight: 600; }
p { margin: 0 0 14px; color: var(--soft); max-width: 76ch; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 20px 22px;
  margin-top: 18px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0; font-size: 0.9rem; }
.facts div { display: flex; gap: 7px; min-width: 0; } .facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.swatch { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 3px; margin-right: 0.5em; flex: none;
  border: 1px solid color-mix(in srgb, var(--ink) 25%, transparent); vertical-align: -0.05em; }
svg { display: block; max-width: 100%; height: auto; } svg text { fill: var(--ink); font-family: inherit; }
svg .soft { fill: var(--soft); } svg .rule { stroke: var(--rule); stroke-width: 1; }
footer { margin-top: 22px; color: var(--soft); font-size: 0.85rem; }
@media (max-width: 600px) { main { padding: 18px 12px 40px; } section { padding: 16px 14px; border-radius: 10px; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def page(
    title: str,
    sections: Sequence[str],  # HTML, each made of escaped text
    *,
    facts: Sequence[tuple[str, str]] = (),
    style: str = "",
) -> str:
    """A whole HTML document: the title, a line of facts (name, value) and the sections in cards.

    Title and facts are plain text and are escaped here. The policy in the head forbids scripts and every fetch, so
    that a report from elsewhere can be opened without a second thought.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    body = "\n".join(f"<section>{section}</section>" for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="generator" content="densefield">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
<header><h1>{escape(title)}</h1>{f'<dl class="facts">{listed}</dl>' if listed else ""}</header>
{body}
<footer>Written by densefield. Everything on this page is inside this file.</footer>
</main>
</body>
</html>
"""


def swatch(color: Sequence[int]) -> str:
    """A small square of an RGB color."""
    red, green, blue = (int(part) for part in color)
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def percent(share: float) -> str:
    """A share as percent with one decimal, or a dash where it is undefined (NaN)."""
    return "–" if share != share else f"{100 * share:.1f}"
