"""Convolutions in whole numbers of eight bits, for CPUs that multiply these fastest.

Weights are rounded to 127 steps per channel, a layer's results to 255 steps between zero and the largest that it gave
on example pictures. All behind the convolutions (boxes, pooling of regions, suppression) stays in float32.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmdet.models.dense_heads import RPNHead
from torch import Tensor, nn

from claran_plugin.detection.merge_levels import MergeLevels
from claran_plugin.detection.vgg import ClaranVGG
from claran_plugin.errors import InputError

STEPS, WEIGHT_STEPS = 255, 127
PICTURE = 'picture'
"""Name of the range of the network's input; the others have those of their convolutions."""

Ranges = Mapping[str, tuple[float, float]]


class EightBits(nn.Module):
    """Convolutions, each with a ReLU behind it, and maximum poolings.

    Parameters
    ----------
    layers : sequence of (str, Module)
        In order, with their full names.
    incoming : (low, high)
        Range of the input, used where it does not come in eight bits.
    ranges : mapping of str to (low, high)
        Range of each convolution's results, by its name.
    outgoing : bool
        Whether the results leave as float32.
    """

    def __init__(
        self, layers: Sequence[tuple[str, nn.Module]], incoming: tuple[float, float], ranges: Ranges, *, outgoing: bool
    ) -> None:
        super().__init__()
        self.incoming = _steps(*incoming)
        self.pooled = any(isinstance(layer, nn.MaxPool2d) for _, layer in layers)
        self.convolutions = []
        for name, layer in layers:
            if isinstance(layer, nn.Conv2d):
                given = self.convolutions[-1].outgoing if self.convolutions else self.incoming
                self.convolutions.append(_Convolution(layer, given, _steps(*ranges[name])))
        self.outgoing = torch.float32 if outgoing else torch.uint8

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps (B, C, H, W), in eight bits or float32, into such of the last convolution's channels."""
        if maps.dtype != torch.uint8:
            size, zero = self.incoming
            maps = (maps / size + zero).round_().clamp_(0, STEPS).to(torch.uint8)
        if self.pooled:
            maps = _half(maps)
        for convolution in self.convolutions[:-1]:
            maps = convolution(maps, torch.uint8)
        return self.convolutions[-1](maps, self.outgoing)


class _Convolution:
    """A convolution in eight bits with a ReLU behind it."""

    def __init__(self, layer: nn.Conv2d, incoming: tuple[float, int], outgoing: tuple[float, int]) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        weight = layer.weight.detach().float()
        self.scales = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / WEIGHT_STEPS
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = None if layer.bias is None else layer.bias.detach().float()
        self.geometry = [list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups]
        whole = (weight / self.scales[:, None, None, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qconv_prepack(whole, self.scales, *incoming, *self.geometry, None)

    def __call__(self, maps: Tensor, dtype: torch.dtype) -> Tensor:
        size, zero = self.outgoing if dtype == torch.uint8 else (1.0, 0)
        return torch.ops.onednn.qconv2d_pointwise(
            maps, *self.incoming, self.weight, self.scales, self.zeros, self.bias, *self.geometry,
            size, zero, dtype, 'relu', [], '',
        )  # fmt: skip


def _half(maps: Tensor) -> Tensor:
    """Take the maximum of squares of 2 x 2 pixels; torch pools no whole numbers."""
    ny, nx = (n - n % 2 for n in maps.shape[-2:])
    maps = maps[..., :ny, :nx]
    rows = torch.maximum(maps[..., ::2, :], maps[..., 1::2, :])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def is_fast_on_cpu() -> bool:
    """Tell whether this CPU multiplies numbers of eight bits into sums of 32 (VNNI): others lose digits on the way."""
    tell = getattr(torch.cpu, 'get_capabilities', None)  # since torch 2.11
    if tell is None or 'onednn' not in torch.backends.quantized.supported_engines:
        return False
    return bool(tell().get('avx512_vnni') or tell().get('avx_vnni'))


def run_in_eight_bits(model: nn.Module, ranges: Ranges) -> None:
    """Let the convolutions of a detector, with batch normalisation folded in, run in eight bits from now on.

    Parameters
    ----------
    model : Module
        See `can_run_in_eight_bits`.
    ranges : mapping
        From `activation_ranges.measure_ranges`.
    """
    groups = list(groups_of(model))
    joined = groups[-2].before  # the neck puts these maps beside each other, so they have the same steps
    high = max(ranges[name][1] for name in joined)
    ranges = {**ranges, **{name: (0.0, high) for name in joined}}
    for parent, name, before, layers in groups:
        outgoing = not isinstance(parent, nn.ModuleList)
        parent._modules[name] = EightBits(layers, ranges[before[0]], ranges, outgoing=outgoing)


def can_run_in_eight_bits(model: nn.Module) -> bool:
    """Tell whether a detector is made of the parts that are known here: `ClaranVGG`, `MergeLevels` and an `RPNHead`."""
    return (
        isinstance(getattr(model, 'backbone', None), ClaranVGG)
        and isinstance(model.backbone.fusion, nn.Identity)
        and isinstance(getattr(model, 'neck', None), MergeLevels)
        and isinstance(getattr(model, 'rpn_head', None), RPNHead)
        and isinstance(model.rpn_head.rpn_conv, nn.Conv2d)
        and not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    )


def read_ranges(path: str | Path, weights_hash: str, model: nn.Module) -> dict[str, tuple[float, float]] | None:
    """Read ranges; None where they belong to other weights, or the model is none that can run in eight bits.

    Raises
    ------
    InputError
        Where the file has none, or not those of all convolutions.
    """
    if not can_run_in_eight_bits(model):
        return None
    try:
        content = json.loads(Path(path).read_text())
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in content['ranges'].items()}
        if content['weights'] != weights_hash:
            return None
        for name in (PICTURE, *(name for group in groups_of(model) for name in group.convolutions)):
            low, high = ranges[name]
            if not -np.inf < low < high < np.inf:
                raise ValueError(f'{name} from {low:g} to {high:g}')
        return ranges
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise InputError(
            f'{path}: no readable ranges ({err}); measure them anew with "claran ranges", or remove the file'
        ) from err


def takes_pictures(model: nn.Module) -> bool:
    """Tell whether the first convolution, in eight bits, takes the numbers of a picture as they are.

    That is so where the range of its input is what the preprocessor makes of 0 to 255.
    """
    preprocessor, first = model.data_preprocessor, model.backbone.stages[0]
    if not isinstance(first, EightBits) or preprocessor._channel_conversion:
        return False
    levels = torch.arange(STEPS + 1).float().expand(3, 1, -1)
    size, zero = first.incoming
    return torch.equal(((levels - preprocessor.mean) / preprocessor.std / size + zero).round_(), levels)


class Group(NamedTuple):
    """Layers that are replaced together.

    `name` is theirs as a child of `parent`, `before` names the convolutions whose results they take in, and `layers`
    are the convolutions and poolings with their full names.
    """

    parent: nn.Module
    name: str
    before: list[str]
    layers: list[tuple[str, nn.Module]]

    @property
    def convolutions(self) -> list[str]:
        """Names of the convolutions."""
        return [name for name, layer in self.layers if isinstance(layer, nn.Conv2d)]


def groups_of(model: nn.Module) -> Iterator[Group]:
    """Give the stages of the backbone, the neck and the shared convolution of the proposal network."""
    names = {layer: name for name, layer in model.named_modules()}

    def working(layers: Iterable[nn.Module]) -> list[tuple[str, nn.Module]]:
        return [(names[layer], layer) for layer in layers if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]

    stages = []
    for number, stage in enumerate(model.backbone.stages):
        before = stages[-1].convolutions[-1] if stages else PICTURE
        stages.append(Group(model.backbone.stages, str(number), [before], working(stage)))
    yield from stages
    neck = Group(
        model.neck, 'mix', [stages[k].convolutions[-1] for k in model.backbone.out_stages], working(model.neck.mix)
    )
    yield neck
    yield Group(model.rpn_head, 'rpn_conv', neck.convolutions[-1:], working([model.rpn_head.rpn_conv]))


def _steps(low: float, high: float) -> tuple[float, int]:
    """Give the size of one of 255 steps between two values, and the number of the step at zero."""
    size = (high - low) / STEPS
    return size, round(-low / size)
