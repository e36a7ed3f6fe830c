"""Damage: bytes, texts and trees of plain values, changed a little, the way files break and people slip."""

from __future__ import annotations

import copy
import random
import struct
from collections.abc import Iterator
from typing import Any

_NUMBERS = (0, 1, -1, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63))
_TOKENS = (
    b"9" * 5000, b"-1", b"2024-02-30", b"2024-01-01", b"12:30:45", b"1e999", b"-.inf", b".nan", b"0x10", b"~", b"[",
    b"{", b"}", b"]", b": ", b"- ", b"'", b'"', b"!!python/none", b"&a", b"*a", b"<<: ", b"\x00", b"\xff\xfe",
    b"\xed\xa0\x80", b"True", b"null", b"(9999999999,)", b"(-1, 3, 4)", b"'descr': 'O'", b"PK\x03\x04",
    b"\x93NUMPY", b"%s", b"\n",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e308, "", "x", "[/b]", "0",
    "\x00", "\ud800", [], [1], ["x"], {}, {"x": 1}, [[]], [None], "9" * 5000,
)  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` after a few accidents."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(7)
        if kind == 0:  # a few bytes turn into others
            for _ in range(rng.randint(1, 8)):
                if changed:
                    changed[rng.randrange(len(changed))] = rng.randrange(256)
        elif kind == 1:  # cut short
            del changed[place:]
        elif kind == 2:  # a piece is missing
            del changed[place : place + rng.randint(1, 64)]
        elif kind == 3:  # a piece stands twice
            changed[place:place] = changed[place : place + rng.randint(1, 64)]
        elif kind == 4:  # a number at its limits
            width, form = rng.choice(((1, "b"), (2, "h"), (4, "i"), (8, "q")))
            number = rng.choice(_NUMBERS) & (2 ** (8 * width) - 1)
            changed[place : place + width] = struct.pack(rng.choice("<>") + form.upper(), number)
        elif kind == 5:  # a word that means something to some reader
            changed[place:place] = rng.choice(_TOKENS)
        else:
            token = rng.choice(_TOKENS)
            changed[place : place + len(token)] = token
    return bytes(changed)


def altered(tree: Any, rng: random.Random) -> Any:
    """A copy of a tree of mappings and lists in which one to three entries are other than they should be."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return rng.choice(_VALUES)
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(("x", "", str(key) + "s", "kind"))] = holder.pop(key)
        elif kind == 2:
            other, name = rng.choice(places)
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])
