"""Changes of image and target together: small frozen objects called `t(image, target, rng) -> (image, target)`.

Images are uint8 (H, W, 3), targets uint8 (H, W), or uint16 where they number objects. Labels are only ever copied,
never interpolated: what comes out is what went in, and 255 where the image had to be continued beyond its border.
"""

from densefield.data.transforms.color import ColorJitter
from densefield.data.transforms.compose import Compose, Transform
from densefield.data.transforms.crop import RandomCrop, crop
from densefield.data.transforms.elastic import ElasticDeformation, coarse_displacement
from densefield.data.transforms.flip import RandomDihedral, RandomFlip
from densefield.data.transforms.random_warp import RandomRotation, RandomScale, RandomWarp
from densefield.data.transforms.warp import warp

__all__ = [
    "ColorJitter",
    "Compose",
    "ElasticDeformation",
    "RandomCrop",
    "RandomDihedral",
    "RandomFlip",
    "RandomRotation",
    "RandomScale",
    "RandomWarp",
    "Transform",
    "coarse_displacement",
    "crop",
    "warp",
]
