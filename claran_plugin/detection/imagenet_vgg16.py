"""Weights of VGG-16 trained on ImageNet as a start (Wu et al. 2019, Section 4.2), from a file that the user has."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from claran_plugin.detection.bbox_head import ClaranBBoxHead
from claran_plugin.detection.numpy_pickle import load_arrays
from claran_plugin.detection.vgg import CONVOLUTIONS, ClaranVGG
from claran_plugin.errors import InputError

TORCHVISION_STD = (0.229, 0.224, 0.225)
"""What torchvision's weights expect a picture of 0 ... 1, red, green, blue, to be divided by."""
REMEDY = "give torchvision's vgg16 (.pth) or VGG_imagenet.npy with model.init_cfg.checkpoint=FILE"

Layer = tuple[Tensor, Tensor]
"""Weight and bias, in PyTorch's layout."""


@WEIGHT_INITIALIZERS.register_module()
class ImageNetVGG16(BaseInit):
    """Initialise a detector, then put ImageNet weights into its `ClaranVGG`.

    For the ``init_cfg`` of the whole detector, so that it can be given to mmdet's training tool:
    ``--cfg-options model.init_cfg.type=ImageNetVGG16 model.init_cfg.checkpoint=FILE``.

    Two layouts are known: torchvision's ``vgg16`` state dictionary (any name), and the original Caffe model as a
    pickled dictionary in a ``.npy`` file. The network gets red, green, blue in 0 ... 255 less their means, divided by
    the data preprocessor's `std`; what the weights were trained with instead is folded into the first convolution.

    Parameters
    ----------
    checkpoint : path
    dense : bool
        FC_6 and FC_7 too. The paper takes layers 1 to 17 only, and so did the authors' code.
    """

    def __init__(self, checkpoint: str | Path, dense: bool = False, **kwargs: Any) -> None:
        super().__init__(layer='Conv2d', **kwargs)
        self.checkpoint, self.dense = Path(checkpoint), dense

    def __call__(self, module: nn.Module) -> None:
        """Initialise a detector.

        Raises
        ------
        InputError
            Where the file cannot be read, lacks a layer, or its layers do not fit the network's.
        """
        # mmengine initialises the parts after the whole, which would undo this; it leaves out those that are done
        for part in module.children():
            if hasattr(part, 'init_weights') and not getattr(part, 'is_init', False):
                part.init_weights()
        source = _read(self.checkpoint)
        preprocessor = getattr(module, 'data_preprocessor', None)
        std = getattr(preprocessor, 'std', torch.ones(1)).flatten().cpu()
        for name, layer in self._layers(module):
            weight, bias = source.layer(name)
            if name == 'conv1_1':
                weight = weight * (std / source.input_std)[:, None, None]
            self._copy(name, layer, weight, bias)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'ImageNetVGG16: {self.checkpoint}, dense={self.dense}')

    def _layers(self, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Give the layers to be filled, by their names in the Caffe model."""
        backbones = [part for part in module.modules() if isinstance(part, ClaranVGG)]
        heads = [part for part in module.modules() if isinstance(part, ClaranBBoxHead)] if self.dense else []
        if not backbones or (self.dense and not heads):
            raise InputError(
                f'{self.checkpoint}: the model has no {"ClaranBBoxHead" if backbones else "ClaranVGG"} to put its '
                'weights into; set init_cfg of the whole model (model.init_cfg), not of a part'
            )
        for backbone in backbones:
            for number, stage in enumerate(backbone.stages, 1):
                convolutions = [layer for layer in stage if isinstance(layer, nn.Conv2d)]
                yield from ((f'conv{number}_{k}', layer) for k, layer in enumerate(convolutions, 1))
        for head in heads:
            yield from zip(('fc6', 'fc7'), head.shared_fcs, strict=True)

    def _copy(self, name: str, layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
        for what, own, new in (('weight', layer.weight, weight), ('bias', layer.bias, bias)):
            if own is None or own.shape != new.shape:
                wanted = 'none' if own is None else tuple(own.shape)
                raise InputError(
                    f'{self.checkpoint}: the {what} of {name} has the shape {tuple(new.shape)}, '
                    f'the network has {wanted}; '
                    'use the weights with a network of the published widths, without batch normalisation'
                    + (', or leave out dense=True' if name.startswith('fc') else '')
                )
            with torch.no_grad():
                own.copy_(new)


class _Torchvision:
    """torchvision's ``vgg16``: ``features.N``, ``classifier.0`` and ``classifier.3``."""

    input_std = 255 * torch.tensor(TORCHVISION_STD)

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = torch.load(path, map_location='cpu', weights_only=True)
        except Exception as err:
            raise InputError(f'{path}: not a readable PyTorch file ({type(err).__name__}); {REMEDY}') from err
        if isinstance(content, Mapping):
            content = content.get('state_dict', content)
        if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
            raise InputError(f'{path}: not a state dictionary of tensors; {REMEDY}')
        self.content = content
        self.names = {'fc6': 'classifier.0', 'fc7': 'classifier.3'}
        position = 0
        for stage, depth in enumerate(CONVOLUTIONS, 1):
            for k in range(1, depth + 1):
                self.names[f'conv{stage}_{k}'] = f'features.{position}'
                position += 2  # past the rectifier
            position += 1  # past the pooling

    def layer(self, name: str) -> Layer:
        keys = [f'{self.names[name]}.{what}' for what in ('weight', 'bias')]
        for key in keys:
            if key not in self.content:
                raise InputError(f'{self.path}: has no {key}, the layer {name} of VGG-16; {REMEDY}')
        weight, bias = (self.content[key].float() for key in keys)
        return weight, bias


class _Caffe:
    """``VGG_imagenet.npy``: layer -> weights and biases.

    Convolutions are (height, width, in, out) and dense layers (in, out), whose input is flattened as channel, row,
    column; pictures are blue, green, red less their means.
    """

    input_std = torch.ones(3)

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, load_arrays(path, REMEDY)

    def layer(self, name: str) -> Layer:
        found = self.content.get(name)
        arrays = [found.get(what) if isinstance(found, dict) else None for what in ('weights', 'biases')]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise InputError(f'{self.path}: has no weights and biases of the layer {name} of VGG-16; {REMEDY}')
        weight, bias = (torch.from_numpy(np.array(array, np.float32)) for array in arrays)
        expected = 2 if name.startswith('fc') else 4
        if weight.ndim != expected:
            raise InputError(
                f'{self.path}: the weights of {name} have the shape {tuple(weight.shape)}, expected {expected} axes; '
                f'{REMEDY}'
            )
        weight = weight.T if expected == 2 else weight.permute(3, 2, 0, 1)
        if name == 'conv1_1':
            weight = weight.flip(1)  # blue, green, red -> red, green, blue
        return weight, bias


def _read(path: Path) -> _Torchvision | _Caffe:
    if not path.is_file():
        raise InputError(f'{path}: no such file of ImageNet weights; {REMEDY}')
    return _Caffe(path) if path.suffix == '.npy' else _Torchvision(path)
