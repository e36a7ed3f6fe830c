"""Published settings of the dense CRF, as kernels for `DenseCRF`."""

from __future__ import annotations

from densefield.refine.kernels import BilateralKernel, Kernel, SpatialKernel

# Krähenbühl and Koltun's own example program, which most examples of pydensecrf repeat.
DEFAULT: tuple[Kernel, ...] = (SpatialKernel(), BilateralKernel())

# Chen et al. 2015, "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs".
DEEPLAB_V1: tuple[Kernel, ...] = (
    SpatialKernel(theta_gamma=3.0, weight=3.0),
    BilateralKernel(theta_alpha=50.0, theta_beta=10.0, weight=5.0),
)
DEEPLAB_V1_MSC: tuple[Kernel, ...] = (
    SpatialKernel(theta_gamma=3.0, weight=3.0),
    BilateralKernel(theta_alpha=95.0, theta_beta=3.0, weight=3.0),
)
DEEPLAB_V1_COCO: tuple[Kernel, ...] = (
    SpatialKernel(theta_gamma=3.0, weight=3.0),
    BilateralKernel(theta_alpha=67.0, theta_beta=3.0, weight=5.0),
)

# Chen et al. 2017, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully
# Connected CRFs": ResNet-101, and VGG-16, as released. Other models of theirs lie between α 49 and 67, β 3 and 5.
DEEPLAB_V2: tuple[Kernel, ...] = (
    SpatialKernel(theta_gamma=1.0, weight=3.0),
    BilateralKernel(theta_alpha=67.0, theta_beta=3.0, weight=4.0),
)
DEEPLAB_V2_VGG16: tuple[Kernel, ...] = (
    SpatialKernel(theta_gamma=2.0, weight=2.0),
    BilateralKernel(theta_alpha=65.0, theta_beta=3.0, weight=4.0),
)
