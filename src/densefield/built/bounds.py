"""Bounds of the numbers that people write, far beyond what anybody needs: better refused than computed for hours.

They stand in the signatures of what can be built (`densefield.built`); a call from Python is checked by the builder
itself.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

Count: TypeAlias = Annotated[int, Field(gt=0, le=1_000_000)]
Channels: TypeAlias = Annotated[int, Field(gt=0, le=1024)]
Side: TypeAlias = Annotated[int, Field(gt=0, le=16_384)]  # pixels
Weight: TypeAlias = Annotated[float, Field(ge=0, le=1e6)]
Positive: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]
Scale: TypeAlias = Annotated[float, Field(gt=0, le=1e12)]  # a width or weight that may have been learned
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Number: TypeAlias = Annotated[float, Field(ge=-1e12, le=1e12)]
