"""Networks: image (B, C, H, W) → scores (B, K, h, w), one paper a file.

Each states of itself what `densefield.protocols.Network` explains. Those below that `described` has marked are known to
recipes, saved segmenters and `densefield kinds`.
"""

from densefield.networks.adapted import Adapted as Adapted
from densefield.networks.adapted import adapted as adapted
from densefield.networks.alexnet import AlexNet as AlexNet
from densefield.networks.deconvnet import DeconvNet as DeconvNet
from densefield.networks.deconvnet import deconvnet as deconvnet
from densefield.networks.deeplab import DeepLab as DeepLab
from densefield.networks.deeplab import deeplab_4x4 as deeplab_4x4
from densefield.networks.deeplab import deeplab_7x7 as deeplab_7x7
from densefield.networks.deeplab import deeplab_largefov as deeplab_largefov
from densefield.networks.deeplab import deeplab_msc_largefov as deeplab_msc_largefov
from densefield.networks.deeplab_v2 import DeepLabResNet as DeepLabResNet
from densefield.networks.deeplab_v2 import DeepLabVGG as DeepLabVGG
from densefield.networks.deeplab_v2 import deeplab_aspp_vgg16 as deeplab_aspp_vgg16
from densefield.networks.deeplab_v2 import deeplab_resnet101 as deeplab_resnet101
from densefield.networks.dilation import Dilation as Dilation
from densefield.networks.dilation import dilation8 as dilation8
from densefield.networks.dilation import dilation10 as dilation10
from densefield.networks.embedding import EmbeddingNetwork as EmbeddingNetwork
from densefield.networks.embedding import embedding_network as embedding_network
from densefield.networks.fc_densenet import ClassicUpsampling as ClassicUpsampling
from densefield.networks.fc_densenet import FCDenseNet as FCDenseNet
from densefield.networks.fc_densenet import classic_upsampling as classic_upsampling
from densefield.networks.fc_densenet import fc_densenet56 as fc_densenet56
from densefield.networks.fc_densenet import fc_densenet67 as fc_densenet67
from densefield.networks.fc_densenet import fc_densenet103 as fc_densenet103
from densefield.networks.fcn import FCN as FCN
from densefield.networks.fcn import CoarseFCN as CoarseFCN
from densefield.networks.fcn import fcn8s as fcn8s
from densefield.networks.fcn import fcn8s_at_once as fcn8s_at_once
from densefield.networks.fcn import fcn16s as fcn16s
from densefield.networks.fcn import fcn32s as fcn32s
from densefield.networks.fcn import fcn32s_alexnet as fcn32s_alexnet
from densefield.networks.fcn import fcn32s_googlenet as fcn32s_googlenet
from densefield.networks.googlenet import GoogLeNet as GoogLeNet
from densefield.networks.hypercolumns import Hypercolumns as Hypercolumns
from densefield.networks.hypercolumns import hypercolumns as hypercolumns
from densefield.networks.pspnet import PSPNet as PSPNet
from densefield.networks.pspnet import pspnet101 as pspnet101
from densefield.networks.python import python as python
from densefield.networks.receptive_field import receptive_field as receptive_field
from densefield.networks.resnet import ResNet as ResNet
from densefield.networks.segnet import SegNet as SegNet
from densefield.networks.segnet import segnet as segnet
from densefield.networks.segnet import segnet_basic as segnet_basic
from densefield.networks.smp import smp as smp
from densefield.networks.timm import timm as timm
from densefield.networks.torchvision import torchvision as torchvision
from densefield.networks.transformers import transformers as transformers
from densefield.networks.unet import UNet as UNet
from densefield.networks.unet import unet as unet
from densefield.networks.vgg import VGG as VGG
