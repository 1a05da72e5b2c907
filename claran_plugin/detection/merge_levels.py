"""A neck that joins feature maps of several scales into one."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional


@MODELS.register_module()
class MergeLevels(BaseModule):
    """Bring all maps to the first one's grid and mix their channels with a 1 x 1 convolution.

    Small sources need the finer map for their peaks, large ones the coarser map for their context.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the maps, finest first.
    out_channels : int
        Channels of the result.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Kaiming', layer='Conv2d', a=0, nonlinearity='relu'))
        self.mix = nn.Sequential(
            nn.Conv2d(sum(in_channels), out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Turn maps (B, in_channels[k], H_k, W_k) into one of (B, out_channels, H_0, W_0)."""
        size = maps[0].shape[-2:]
        return (self.mix(torch.cat([maps[0], *(_resized(coarse, size) for coarse in maps[1:])], dim=1)),)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate maps; those of whole numbers are rounded, which torch does only slowly by itself."""
    if maps.is_floating_point():
        return functional.interpolate(maps, size, mode='bilinear', align_corners=False)
    return _resized(maps.float(), size).round_().to(maps.dtype)
