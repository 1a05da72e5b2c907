"""Spatial-transformer RoI pooling (Wu et al. 2019, Section 4.4, Eq. 8)."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import functional

from claran_plugin.detection.groups import rank_within_group


@MODELS.register_module()
class STRoIExtractor(BaseModule):
    """Crop regions of interest from a feature map with affine transformations and bilinear sampling.

    Differentiable with respect to the features and to the corners of the regions. The regular grid of the pooled map
    runs from -1 to 1 in both directions; Eq. 8 without rotation carries it onto the region.

    Parameters
    ----------
    out_channels : int
        Channels of the feature map.
    featmap_strides : sequence of one int
        Pixels of the input per pixel of the feature map.
    output_size : int
        Side of the pooled maps (the paper: 7).
    """

    def __init__(
        self,
        out_channels: int,
        featmap_strides: Sequence[int] = (16,),
        output_size: int = 7,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(featmap_strides) != 1:
            raise ValueError(f'STRoIExtractor works on one feature map, got strides {list(featmap_strides)}')
        self.out_channels = out_channels
        self.featmap_strides = list(featmap_strides)
        self.output_size = output_size

    @property
    def num_inputs(self) -> int:
        """Number of feature maps that are used."""
        return 1

    def sampling_grid(self, corners: Tensor, height: int, width: int) -> Tensor:
        """Carry the regular grid onto regions (Eq. 8).

        Parameters
        ----------
        corners : (R, 4) tensor
            Regions, xyxy in pixels of the feature map, whose own corners are (0, 0) and (width, height).

        Returns
        -------
        (R, S, S, 2) tensor, (u, v) of the samples, -1 ... 1 across the feature map
        """
        x1, y1, x2, y2 = corners.unbind(-1)
        u = torch.linspace(-1, 1, self.output_size, dtype=corners.dtype, device=corners.device)
        u_map = (x2 - x1)[:, None] / width * u + (x1 + x2 - width)[:, None] / width
        v_map = (y2 - y1)[:, None] / height * u + (y1 + y2 - height)[:, None] / height
        size = (len(corners), self.output_size, self.output_size)
        return torch.stack([u_map[:, None, :].expand(size), v_map[:, :, None].expand(size)], dim=-1)

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pool regions.

        Parameters
        ----------
        feats : tuple of one (B, C, H, W) tensor
        rois : (R, 5) tensor
            Number of the image in the batch, then xyxy in pixels of the input.
        roi_scale_factor : float, optional
            Enlarge the regions about their centres by this factor.

        Returns
        -------
        (R, C, S, S) tensor in the type of the features
        """
        features = feats[0]
        if not len(rois):
            return features.new_zeros(0, features.shape[1], self.output_size, self.output_size)
        precision = torch.promote_types(features.dtype, torch.float32)
        corners = rois[:, 1:].to(precision)
        if roi_scale_factor is not None:
            middle = (corners[:, :2] + corners[:, 2:]).repeat(1, 2) / 2
            corners = middle + (corners - middle) * roi_scale_factor
        with torch.autocast(features.device.type, enabled=False):
            pooled = self.crop(features.to(precision), rois[:, 0].long(), corners / self.featmap_strides[0])
        return pooled.to(features.dtype)

    def crop(self, features: Tensor, image: Tensor, corners: Tensor) -> Tensor:
        """Crop regions.

        Parameters
        ----------
        features : (B, C, H, W) tensor
        image : (R,) int tensor
            Number of each region's image in the batch.
        corners : (R, 4) tensor
            As for `sampling_grid`.

        Returns
        -------
        (R, C, S, S) tensor
        """
        return sample(features, image, self.sampling_grid(corners, *features.shape[-2:]))


def sample(features: Tensor, image: Tensor, grid: Tensor) -> Tensor:
    """Read feature maps at points, bilinearly; beyond the border its pixels go on.

    Parameters
    ----------
    features : (B, C, H, W) tensor
    image : (R,) int tensor
        Number in the batch of the map that each set of points is for; in any order.
    grid : (R, S, S, 2) tensor
        (u, v) of the points, -1 ... 1 across the map.

    Returns
    -------
    (R, C, S, S) tensor
    """
    # grid_sample wants one grid per map: the grids of a map are laid one below the other, maps with fewer are filled up
    batch, size = len(features), grid.shape[1]
    rank = rank_within_group(image, batch)
    per_image = int(rank.max()) + 1
    slots = grid.new_zeros(batch, per_image, *grid.shape[1:]).index_put((image, rank), grid)
    read = functional.grid_sample(
        features, slots.flatten(1, 2), mode='bilinear', padding_mode='border', align_corners=False
    )
    return read.unflatten(2, (per_image, size)).permute(0, 2, 1, 3, 4)[image, rank]
