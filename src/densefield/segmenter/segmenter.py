"""Segmenter: a network with its classes, scaling, tiling and refinement; image in, labels out; saved and loaded."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from torch import Tensor, nn
from torch.nn import functional

from densefield.built import kind_of
from densefield.checks import InputError, check, whole_number
from densefield.classes import ClassList
from densefield.files import atomic_write
from densefield.images.bands import AS_DECLARED, Reading
from densefield.networks.adapted import adapted, multiple_of
from densefield.protocols import geometry, speaks, stated
from densefield.refine import DenseCRF
from densefield.segmenter.description import (
    HEADER,
    HUB_WEIGHTS,
    SegmenterConfig,
    build_network,
    build_refinement,
    network_words,
    paths_to_load,
    paths_to_save,
    read_text,
    refinement_words,
)
from densefield.segmenter.pixels import ImageLike, Pixels, as_pixels, normalized, read_tile
from densefield.segmenter.tiling import Span, padded_spans, score_tiles, valid_spans
from densefield.segmenter.views import Views, mean_scores
from densefield.weights import check_fit, read_tensors, write_tensors

_LARGEST_WHOLE = 2**21  # pixels: without a tile size, larger images are tiled
_DEFAULT_TILE = 1024
_CARD = """---
{{ card_data }}
---
A densefield segmenter: `Segmenter.from_pretrained("<this repository>")("photo.jpg")` gives a class for each pixel.
"""


class Segmenter(
    nn.Module, ModelHubMixin, library_name="densefield", pipeline_tag="image-segmentation", model_card_template=_CARD
):
    """Segments images of any size with `network`, (B, C, H, W) → scores (B, K, h, w).

    A network of other origin, which states no `margin`, is put behind the protocol by `networks.adapted`.
    `mean` and `std` scale pixels in [0, 1], one value a channel; a network of one channel reads luminance. `refinement`
    takes (scores, image in [0, 1]) and gives scores. Images with a side over `tile` pixels are segmented in tiles
    (`tile=None`: whole up to two megapixels, then by 1024), each seeing `overlap` pixels beyond what it decides
    (`overlap=None`: the network's `reach`, at most a quarter of the tile). `overlap` ≥ `reach` leaves no seams.
    `reading` says which bands and values of files are meant, where they do not declare it. `views` (`Views`, not saved)
    are the sizes at which an image is seen, and whether mirrored too; of several, scores are the mean's logarithm.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: ClassList,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        refinement: nn.Module | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        reading: Reading = AS_DECLARED,
    ) -> None:
        super().__init__()
        channels = stated(network, "in_channels", len(mean))
        check(len(mean) == channels, f"mean: wanted {channels} values, one a channel, received {len(mean)}")
        check(len(std) == channels, f"std: wanted {channels} values, one a channel, received {len(std)}")
        check(all(map(math.isfinite, mean)), f"mean: wanted finite values, received {tuple(mean)}")
        check(all(0 < value < math.inf for value in std), f"std: wanted positive values, received {tuple(std)}")
        count = stated(network, "num_classes", len(classes))
        check(count == len(classes), f"classes: wanted {count} for this network, received {len(classes)}")
        foreign = not speaks(network)
        self.network = adapted(network, count, channels, multiple=multiple_of(network)) if foreign else network
        self.refinement = refinement
        self.classes = classes
        self.mean = tuple(float(value) for value in mean)
        self.std = tuple(float(value) for value in std)
        self.tile = tile
        self.overlap = overlap
        self.reading = reading
        self.views = Views()

    def forward(self, image: ImageLike) -> Tensor:
        """Labels (H, W) int64 of a path, Pillow image, uint8 (H, W, 3) or (3, H, W) tensor; (B, H, W) of a batch."""
        pixels = as_pixels(image, self.reading)
        batch, _, height, width = pixels.values.shape
        labels = torch.empty((batch, height, width), dtype=torch.int64, device=pixels.values.device)
        for top, left, scores in self._tiles(pixels):
            labels[:, top : top + scores.shape[2], left : left + scores.shape[3]] = scores.argmax(dim=1)
        return labels if pixels.batched else labels[0]

    def scores(self, image: ImageLike) -> Tensor:
        """Scores (K, H, W) of what `forward` takes, (B, K, H, W) of a batch; on the image's device."""
        pixels = as_pixels(image, self.reading)
        scores = _assembled(self._tiles(pixels), pixels.values)
        return scores if pixels.batched else scores[0]

    def network_scores(self, image: ImageLike) -> Tensor:
        """What `scores` gives without the refinement; `refine(network_scores(image), image)` is `scores(image)`."""
        pixels = as_pixels(image, self.reading)
        scores = _assembled(self._network_tiles(pixels.values), pixels.values)
        return scores if pixels.batched else scores[0]

    def score_tiles(self, image: ImageLike) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (first row, first column, scores (B, K, h, w)) a tile: for images whose scores memory cannot hold.

        A refinement and several views look at the whole image; with one of them, a single tile is yielded.
        """
        yield from self._tiles(as_pixels(image, self.reading))

    def _tiles(self, pixels: Pixels) -> Iterator[tuple[int, int, Tensor]]:
        if self.refinement is None:
            yield from self._network_tiles(pixels.values)
            return
        scores = _assembled(self._network_tiles(pixels.values), pixels.values)
        yield 0, 0, self._refined(scores, pixels.values)

    def refine(self, scores: Tensor, image: ImageLike) -> Tensor:
        """`scores` (K, H, W), or (B, K, H, W) of a batch, refined by what they and `image` say; as they are without."""
        pixels = as_pixels(image, self.reading)
        wanted = (*pixels.values.shape[:1], len(self.classes), *pixels.values.shape[2:])
        batch = scores if pixels.batched else scores[None]
        received = tuple(batch.shape)
        check(received == wanted, f"scores: wanted {wanted if pixels.batched else wanted[1:]}, received {scores.shape}")
        refined = batch if self.refinement is None else self._refined(batch, pixels.values)
        return refined if pixels.batched else refined[0]

    def _refined(self, scores: Tensor, pixels: Tensor) -> Tensor:  # (B, K, H, W), (B, C, H, W)
        assert self.refinement is not None
        with torch.no_grad(), _evaluating(self):
            device, dtype = _placement(self.network)
            image = pixels.to(device)
            if not isinstance(self.refinement, DenseCRF):  # which takes pixels as they are
                image = normalized(image, channels=pixels.shape[1], dtype=dtype)
            image = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
            refined = self.refinement(scores.to(device), image)
        wanted = tuple(scores.shape)
        check(tuple(refined.shape) == wanted, f"refinement: wanted scores {wanted}, received {tuple(refined.shape)}")
        return torch.as_tensor(refined).to(pixels.device)

    def _network_tiles(self, pixels: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        if self.views == Views():
            yield from self._view_tiles(pixels)
        else:
            yield 0, 0, mean_scores(pixels, self.views, lambda seen: _assembled(self._view_tiles(seen), seen))

    def _view_tiles(self, pixels: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        height, width = pixels.shape[2:]
        margin = geometry(self.network).margin
        device, dtype = _placement(self.network)

        def score(rows: Span, columns: Span) -> Tensor:
            tile = read_tile(pixels, rows, columns, mean=self.mean, std=self.std, device=device, dtype=dtype)
            # Not around the whole generator: it would switch gradients off for whoever consumes the tiles.
            with torch.no_grad(), _evaluating(self.network):
                scores = self.network(tile)
            right = self._of_size(scores, tile.shape[2] - 2 * margin, tile.shape[3] - 2 * margin)
            check(not bool(right.isnan().any()), "network: its scores hold NaN, from which no label follows")
            return right.to(pixels.device)

        yield from score_tiles(score, self._spans(height, height * width), self._spans(width, height * width), margin)

    def _spans(self, length: int, area: int) -> list[Span]:
        margin, stride, reach, smallest = geometry(self.network)
        tile = self.tile if self.tile is not None else (_DEFAULT_TILE if area > _LARGEST_WHOLE else 2 * _LARGEST_WHOLE)
        tile = whole_number("tile", tile, 1)
        if margin:
            return valid_spans(length, tile=tile, margin=margin, stride=stride, smallest=smallest)
        overlap = self.overlap
        if overlap is None:
            overlap = min(tile if reach is None else reach, tile // 4 // stride * stride)
        overlap = whole_number("overlap", overlap, 0)
        return padded_spans(length, tile=tile, overlap=overlap, stride=stride)

    def _of_size(self, scores: object, height: int, width: int) -> Tensor:
        """The network's answer, checked; coarser scores, as many published networks give, are enlarged bilinearly."""
        right = isinstance(scores, Tensor) and scores.dim() == 4 and scores.shape[1] == len(self.classes)
        if not isinstance(scores, Tensor) or not right:
            what = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(f"network: wanted scores (B, {len(self.classes)}, H, W), received {what}")
        if tuple(scores.shape[2:]) == (height, width):
            return scores
        received = tuple(scores.shape[2:])
        coarser = received[0] <= height and received[1] <= width
        check(coarser, f"network: wanted scores of {(height, width)} pixels or fewer, received {received}")
        return functional.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Write PATH.safetensors and PATH.json, or into the folder PATH model.safetensors and config.json.

        `dtype=torch.float16` halves the file; tensors whose values it cannot hold keep theirs. The safetensors file
        also carries the description, so it loads alone. Of a network that no function of `densefield.networks` built it
        has the tensors only.
        """
        # Whole numbers would cut every weight to 0 or so.
        floating = dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)
        check(floating, f"dtype: wanted a floating-point type, such as torch.float16, received {dtype}")
        weights, description = paths_to_save(Path(path))
        config = self._config()
        write_tensors(weights, self._tensors(), {"format": "pt", HEADER: config}, dtype=dtype)
        with atomic_write(description) as file:
            file.write(config.encode())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        network: nn.Module | None = None,
        refinement: nn.Module | None = None,
        trust: str | None = None,
    ) -> Segmenter:
        """Read what `save` wrote (the file or its folder) without running anything from it; half precision is widened.

        A `DenseCRF` or `EmbeddingRefinement` is built again too. Of another refinement, or a network that no kind
        builds, the file knows the tensors only: hand one of the same kind over as `refinement` or `network`, to be
        filled. A network of kind `python` is built by code that the file names: it runs only where you name it too, as
        `trust="package.module:function"`, or hand the network over. Raises `InputError` in one line for what is
        missing, damaged, unknown, not trusted or does not fit.
        """
        weights, description = paths_to_load(Path(path))
        tensors, header = read_tensors(weights)
        if description.is_file():
            text, source = read_text(description), str(description)
        else:
            text, source = header.get(HEADER, ""), str(weights)
            check(bool(text), f"{weights}: holds no description of a segmenter; put {description.name} beside it")
        config = SegmenterConfig.from_json(text, source)
        saved = None if config.refinement is None else config.refinement["kind"]
        name = type(refinement).__name__
        fits = refinement is None or saved in (None, name, kind_of(refinement))
        check(fits, f"{source}: was saved with a {saved}; pass it as refinement=, received {name}")
        with torch.device("meta"):  # shapes first: a lying description must not set aside memory
            sketch = cls._build(config, network, refinement, source, trust)
            check_fit(sketch._tensors(), tensors, weights)
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then overwritten
            segmenter = cls._build(config, network, refinement, source, trust)
        segmenter.load_state_dict(tensors, strict=False)  # shared tensors under one name; they fit
        return segmenter.eval()

    def _tensors(self) -> dict[str, Tensor]:
        """Each tensor once, under the first of its names: a refinement may share the network's layers."""
        known: set[int] = set()
        named = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            if id(tensor) not in known:
                known.add(id(tensor))
                named[name] = tensor.detach()
        return named

    @classmethod
    def _build(
        cls,
        config: SegmenterConfig,
        network: nn.Module | None,
        refinement: nn.Module | None,
        source: str,
        trust: str | None,
    ) -> Segmenter:
        if network is None:
            network = build_network(config.network, config.arguments, source, trust)
        if refinement is None and config.refinement is not None:
            refinement = build_refinement(config.refinement, network, source)
        try:
            return cls(
                network,
                config.classes,
                mean=config.mean,
                std=config.std,
                refinement=refinement,
                tile=config.tile,
                overlap=config.overlap,
                reading=Reading(config.bands, config.range),
            )
        except InputError as error:
            raise InputError(f"{source}: {error}") from error

    def _config(self) -> str:
        arguments = network_words(self.network)
        return SegmenterConfig(
            network=arguments.pop("kind"),
            arguments=arguments,
            classes=self.classes,
            mean=self.mean,
            std=self.std,
            tile=self.tile,
            overlap=self.overlap,
            bands=self.reading.bands,
            range=self.reading.range,
            refinement=refinement_words(self.refinement, self.network),
        ).to_json()

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        network: nn.Module | None = None,
        refinement: nn.Module | None = None,
        trust: str | None = None,
        **model_kwargs: object,
    ) -> Segmenter:
        wanted = "wanted only network, refinement, trust"
        check(not model_kwargs, f"from_pretrained: takes no {', '.join(model_kwargs)}; {wanted}")
        if os.path.isdir(model_id):
            return cls.load(model_id, network=network, refinement=refinement, trust=trust)
        weights = hf_hub_download(
            model_id,
            HUB_WEIGHTS,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return cls.load(Path(weights).parent, network=network, refinement=refinement, trust=trust)


def _assembled(tiles: Iterator[tuple[int, int, Tensor]], pixels: Tensor) -> Tensor:  # (B, K, H, W)
    """All tiles in their places."""
    whole: Tensor | None = None
    for top, left, scores in tiles:
        height, width = scores.shape[2:]
        if (height, width) == tuple(pixels.shape[2:]):
            return scores
        if whole is None:
            whole = scores.new_empty((*scores.shape[:2], *pixels.shape[2:]))
        whole[:, :, top : top + height, left : left + width] = scores
    assert whole is not None
    return whole


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the block; each submodule then gets back its own, frozen ones stay frozen."""
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where and in which precision the network computes."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32
