"""The words that describe a saved segmenter: which network, which classes, how pixels are scaled. No code in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from densefield import networks
from densefield.built import Kinds, described_in, kind_of, words_of
from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.images.bands import Reading
from densefield.networks import Adapted, EmbeddingNetwork
from densefield.networks.python import check_trusted
from densefield.refine import DenseCRF, EmbeddingRefinement
from densefield.weights import read_tensors

BUILDERS = described_in(networks)  # nothing else is ever looked up
SHARED = "shared_trunk"  # the kind of embeddings on the layers of the network in front
NETWORKS = Kinds([builder for builder in BUILDERS if kind_of(builder) != SHARED], of_files=True)
EMBEDDERS = Kinds([builder for builder in BUILDERS if builder is not networks.python], given=("trunk",), of_files=True)
REFINEMENTS = Kinds((DenseCRF, EmbeddingRefinement), places={"embedder": EMBEDDERS}, of_files=True)

HEADER = "densefield"  # the key of the safetensors header that holds the description
HUB_WEIGHTS = "model.safetensors"  # the hub's name for a model's tensors
_FILES = ((HUB_WEIGHTS, "config.json"), ("segmenter.safetensors", "segmenter.json"))
_FORMAT = "densefield segmenter"
_VERSION = 1
_LONGEST = 2**20  # characters; a class list of thousands of names is far shorter


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """Everything of a saved segmenter except its tensors."""

    network: str
    arguments: dict[str, Any]
    classes: ClassList
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tile: int | None = None
    overlap: int | None = None
    bands: tuple[int, ...] | None = (
        None  # how files are read, where they do not say it: densefield.images.bands.Reading
    )
    range: tuple[float, float] | None = None
    refinement: dict[str, Any] | None = None  # kind and arguments

    def to_json(self) -> str:
        """Indented JSON; the fields stand under one key of their own, beside the format's name and version."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["classes"] = self.classes.to_dict()
        try:
            return json.dumps({"format": _FORMAT, "version": _VERSION, "segmenter": fields}, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"arguments of {self.network}: cannot be saved as JSON ({error})") from error

    @classmethod
    def from_json(cls, text: str, source: str) -> SegmenterConfig:
        """Parse and check; every `InputError` begins with `source`, the file the text came from."""
        check(len(text) <= _LONGEST, f"{source}: longer than {_LONGEST} characters; not a segmenter's description")
        try:
            outer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}: not JSON ({error}); save or download the segmenter again") from error
        known = isinstance(outer, dict) and outer.get("format") == _FORMAT and isinstance(outer.get("segmenter"), dict)
        check(known, f'{source}: does not describe a segmenter; wanted "format": "{_FORMAT}" and its fields')
        version = outer.get("version")
        check(version == _VERSION, f"{source}: version {version!r}, wanted {_VERSION}; a newer densefield may read it")
        return _checked(outer["segmenter"], source)


def _checked(fields: Mapping[str, Any], source: str) -> SegmenterConfig:
    wanted = {field.name: field for field in dataclasses.fields(SegmenterConfig)}
    for name in fields:
        check(name in wanted, f"{source}: unknown field {name!r}; wanted {', '.join(wanted)}")
    for name, field in wanted.items():
        check(name in fields or field.default is None, f"{source}: misses the field {name!r}")
    check(isinstance(fields["network"], str), f"{source}: network: wanted a name")
    check(isinstance(fields["arguments"], dict), f"{source}: arguments: wanted names and values")
    try:
        classes = ClassList.from_dict(fields["classes"])
    except (InputError, AttributeError, TypeError) as error:
        raise InputError(f"{source}: classes: {error}") from error
    for name in ("tile", "overlap"):
        value = fields.get(name)
        whole = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
        check(whole, f"{source}: {name}: wanted a whole number of pixels or null, received {value!r}")
    refinement = fields.get("refinement")
    described = isinstance(refinement, dict) and isinstance(refinement.get("kind"), str)
    check(refinement is None or described, f"{source}: refinement: wanted its kind and fields, or null")
    reading = _reading(fields, source)
    return SegmenterConfig(
        network=fields["network"],
        arguments=dict(fields["arguments"]),
        classes=classes,
        mean=_numbers(fields["mean"], f"{source}: mean"),
        std=_numbers(fields["std"], f"{source}: std"),
        tile=fields.get("tile"),
        overlap=fields.get("overlap"),
        bands=reading.bands,
        range=reading.range,
        refinement=refinement,
    )


def _reading(fields: Mapping[str, Any], source: str) -> Reading:
    bands, range = fields.get("bands"), fields.get("range")
    try:
        return Reading(
            None if bands is None else tuple(bands),
            None if range is None else (float(range[0]), float(range[1])),
        )
    except (InputError, TypeError, ValueError, LookupError, OverflowError) as error:
        raise InputError(f"{source}: bands, range: {error}") from error


def _numbers(values: Any, where: str) -> tuple[float, ...]:
    right = isinstance(values, list) and 1 <= len(values) <= 1024
    right = right and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e30 for v in values)
    check(right, f"{where}: wanted a list of finite numbers, one a channel")
    return tuple(float(value) for value in values)


def network_words(network: nn.Module) -> dict[str, Any]:
    """The kind and arguments of a network; of one that no described function built only where its class lies."""
    words = words_of(network)
    if words is None or words["kind"] not in NETWORKS.builders:
        whose = type(network.model if isinstance(network, Adapted) else network)
        return {"kind": f"{whose.__module__}.{whose.__qualname__}"}
    return words


def build_network(
    name: str, arguments: Mapping[str, Any], source: str = "network", trust: str | None = None
) -> nn.Module:
    """The network of that kind, fresh tensors; `InputError` beginning with `source` for what does not fit.

    Code that the words name runs only where it is the `trust`ed "package.module:function".
    """
    known = NETWORKS.builders
    own = "or your own, which Segmenter.load takes as network="
    check(name in known, f"{source}: unknown network {name!r}; wanted one of {', '.join(known)}, {own}")
    if name == kind_of(networks.python):
        check_trusted(arguments.get("target"), trust, source)
    network: nn.Module = NETWORKS.build({**arguments, "kind": name}, f"{source}: arguments")
    return network


def refinement_words(refinement: nn.Module | None, network: nn.Module) -> dict[str, Any] | None:
    """A refinement's kind and present numbers; of one that nothing describes only the name of its class.

    Embeddings on the trunk of `network` have that kind. Raises `InputError` for others that no function of
    `densefield.networks` built.
    """
    if refinement is None:
        return None
    words = words_of(refinement)
    if words is None:
        return {"kind": type(refinement).__name__}
    if isinstance(refinement, EmbeddingRefinement):
        foreign = words.get("embedder", {}).get("kind") not in EMBEDDERS.builders
        if foreign or (words["embedder"]["kind"] == SHARED and not shares_trunk(refinement, network)):
            raise InputError(
                f"refinement: a {type(refinement.embedder).__name__} cannot be saved: only what functions of "
                "densefield.networks build, or an EmbeddingNetwork on this network's trunk"
            )
        plain = "filter" in words  # of another class it would be built again as what it is not
        check(plain, f"refinement: a {type(refinement.filter).__name__} cannot be saved: only an EmbeddingFilter")
    return words


def shares_trunk(refinement: nn.Module | None, network: nn.Module) -> bool:
    """Whether embeddings are made by the layers of `network` itself."""
    if not isinstance(refinement, EmbeddingRefinement):
        return False
    embedder = refinement.embedder
    return isinstance(embedder, EmbeddingNetwork) and embedder.trunk is getattr(network, "trunk", None)


def build_refinement(words: Mapping[str, Any], network: nn.Module, source: str) -> nn.Module:
    """The module that `words` describe behind `network`, fresh tensors; every `InputError` begins with `source`."""
    kind = words.get("kind")
    check(kind in REFINEMENTS.names, f"{source}: was saved with a {kind}; pass it as refinement=, received None")
    if "network" in words and "arguments" in words:  # as 0.1.0's first files had the embedding network
        arguments = words["arguments"] if isinstance(words["arguments"], Mapping) else {}
        embedder = {**arguments, "kind": words["network"] or SHARED}
        words = {
            **{key: value for key, value in words.items() if key not in ("network", "arguments")},
            "embedder": embedder,
        }
    built: nn.Module = REFINEMENTS.build(words, f"{source}: refinement", trunk=getattr(network, "trunk", None))
    return built


def paths_to_save(path: Path) -> tuple[Path, Path]:
    """The safetensors file and the description for a file or folder that a person named; `InputError` for others."""
    if path.suffix == ".safetensors":
        return path, path.with_suffix(".json")
    other = path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".json")  # which a folder is never called
    check(not other, f"{path}: wanted a .safetensors file, or a folder to save into")
    return path / _FILES[0][0], path / _FILES[0][1]


def paths_to_load(path: Path) -> tuple[Path, Path]:
    """The safetensors file and where its description would lie; `InputError` when no segmenter is there."""
    if path.is_dir():
        for weights, description in _FILES:
            if (path / weights).is_file():
                return path / weights, path / description
        names = " or ".join(weights for weights, _ in _FILES)
        raise InputError(f"{path}: holds no segmenter; wanted {names} inside (training writes it)")
    check(path.exists(), f"{path}: no such file or folder; wanted a saved segmenter")
    check(path.suffix == ".safetensors", f"{path}: wanted a .safetensors file, or a folder that holds one")
    return path, path.with_suffix(".json")


def holds_segmenter(path: Path) -> bool:
    """Whether a saved segmenter is meant: a folder, or a safetensors file with its description; not other weights."""
    if path.suffix != ".safetensors":
        return path.suffix == "" or path.is_dir()
    return path.with_suffix(".json").is_file() or HEADER in read_tensors(path)[1]


def read_text(path: Path) -> str:
    """A description's text; `InputError` naming the file when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); save or download the segmenter again") from error
