"""A neck that joins feature maps of several scales into one."""

from collections.abc import Sequence
from typing import Any

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
    places : bool
        Mix in where on the picture each place is (Liu et al. 2018, CoordConv): for pictures made around a source.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, *, places: bool = False, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Kaiming', layer='Conv2d', a=0, nonlinearity='relu'))
        self.places = places
        self.mix = nn.Sequential(
            nn.Conv2d(sum(in_channels) + 3 * places, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take weights of a network without places for ones that nothing depends on them."""
        name = f'{prefix}mix.0.weight'
        known = state_dict.get(name)
        if self.places and known is not None and known.shape[1] + 3 == self.mix[0].in_channels:
            state_dict[name] = torch.cat([known, known.new_zeros(len(known), 3, 1, 1)], dim=1)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Turn maps (B, in_channels[k], H_k, W_k) into one of (B, out_channels, H_0, W_0)."""
        size = maps[0].shape[-2:]
        merged = [maps[0], *(_resized(coarse, size) for coarse in maps[1:])]
        if self.places:
            merged.append(_places(maps[0]))
        return (self.mix(torch.cat(merged, dim=1)),)


def _places(maps: Tensor) -> Tensor:
    """Give x and y from -1 at one side to 1 at the other, and how near the middle is, (B, 3, H, W) for (B, C, H, W)."""
    y, x = (torch.linspace(-1, 1, n, dtype=maps.dtype, device=maps.device) for n in maps.shape[-2:])
    y, x = torch.meshgrid(y, x, indexing='ij')
    near = torch.exp(-(x**2 + y**2) / 0.02)  # a seventh of half the side
    return torch.stack([x, y, near]).expand(len(maps), -1, -1, -1)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate maps; those of whole numbers are rounded, which torch does only slowly by itself."""
    if maps.is_floating_point():
        return functional.interpolate(maps, size, mode='bilinear', align_corners=False)
    return _resized(maps.float(), size).round_().to(maps.dtype)
