"""A script written for pydensecrf, with nothing but its import lines changed.

Run: python examples/pydensecrf_drop_in.py [FOLDER]. It refines a rough mask of a photograph, steps through the
iterations, then does the same with a CRF of free features, and writes before.png and after.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data, draw

# import pydensecrf.densecrf as dcrf
# from pydensecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian, unary_from_labels
import densefield.refine.pydensecrf.densecrf as dcrf
from densefield.refine.pydensecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian, unary_from_labels

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
step = int(sys.argv[2]) if len(sys.argv) > 2 else 1  # take every so many pixels: quicker
photo = np.ascontiguousarray(data.astronaut()[:400:step, ::step])
height, width = photo.shape[:2]

# A rough mask by hand: an ellipse for the head, a polygon for the body; labels are 1 and 2, 0 would mean unsure.
mask = np.ones((400, 512), np.int32)
mask[draw.ellipse(110, 225, 95, 70, shape=mask.shape)] = 2
mask[draw.polygon([190, 190, 260, 400, 400, 250], [180, 290, 370, 400, 60, 110], shape=mask.shape)] = 2
mask = mask[::step, ::step]

# The usual model over an image.
d = dcrf.DenseCRF2D(width, height, 2)
d.setUnaryEnergy(unary_from_labels(mask, 2, gt_prob=0.6, zero_unsure=True))
d.addPairwiseGaussian(sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
d.addPairwiseBilateral(
    sxy=(60, 60),
    srgb=(20, 20, 20),
    rgbim=photo,
    compat=10,
    kernel=dcrf.DIAG_KERNEL,
    normalization=dcrf.NORMALIZE_SYMMETRIC,
)
labels = np.argmax(d.inference(5), axis=0).reshape(height, width)

# Step by step.
Q, tmp1, tmp2 = d.startInference()
for i in range(5):
    print(f"KL-divergence at {i}: {d.klDivergence(Q):.0f}")
    d.stepInference(Q, tmp1, tmp2)
assert np.mean(np.argmax(np.array(Q), axis=0).reshape(height, width) == labels) > 0.999

# Any number of dimensions and channels: features of one's own.
free = dcrf.DenseCRF(width * height, 2)
free.setUnaryEnergy(unary_from_labels(mask, 2, gt_prob=0.6, zero_unsure=True))
free.addPairwiseEnergy(create_pairwise_gaussian(sdims=(3, 3), shape=photo.shape[:2]), compat=3)
features = create_pairwise_bilateral(sdims=(60, 60), schan=(20, 20, 20), img=photo, chdim=2)
free.addPairwiseEnergy(features, compat=10)
again = np.argmax(free.inference(5), axis=0).reshape(height, width)
print(f"the same model through features: {100 * np.mean(again == labels):.1f} % of the labels agree")

folder.mkdir(parents=True, exist_ok=True)
for name, chosen in (("before", mask == 2), ("after", labels == 1)):
    Image.fromarray(np.where(chosen[..., None], photo, 255).astype(np.uint8)).save(folder / f"{name}.png")
