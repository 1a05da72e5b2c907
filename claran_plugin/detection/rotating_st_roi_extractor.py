"""Spatial-transformer RoI pooling that turns each region by an angle of its own (Wu et al. 2019, Section 7)."""

from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from claran_plugin.detection.st_roi_extractor import STRoIExtractor, sample


@MODELS.register_module()
class RotatingSTRoIExtractor(STRoIExtractor):
    """`STRoIExtractor` with a small localisation network that predicts an angle from the unrotated crop.

    The angle is half that of a predicted vector, as for any axis without a head: as the axis of a radio source turns
    through 180 degrees and looks the same again, a number would have to jump back, but a vector at twice the angle
    comes round. It starts as (1, 0) for any crop, hence the angle at zero and the pooling as Eq. 8.

    Parameters
    ----------
    out_channels : int
        Channels of the feature map.
    hidden_channels : int
        Width of the localisation network.
    *args, **kwargs
        Of `STRoIExtractor`.
    """

    def __init__(self, out_channels: int, *args: Any, hidden_channels: int = 32, **kwargs: Any) -> None:
        super().__init__(out_channels, *args, **kwargs)
        self.localisation = nn.Sequential(
            nn.Conv2d(out_channels, hidden_channels, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(hidden_channels * self.output_size**2, 2 * hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(2 * hidden_channels, 2),
        )
        nn.init.zeros_(self.localisation[-1].weight)
        nn.init.zeros_(self.localisation[-1].bias)

    def angles(self, crops: Tensor) -> Tensor:
        """Predict angles.

        Parameters
        ----------
        crops : (R, C, S, S) tensor
            Regions as Eq. 8 crops them.

        Returns
        -------
        (R,) tensor, radians, -pi/2 ... pi/2, by which the sampling grid is turned from u to v
        """
        # a source's brightness says nothing of its direction
        crops = functional.layer_norm(crops, crops.shape[1:])
        along, across = self.localisation(crops.to(self.localisation[-1].weight.dtype)).to(crops.dtype).unbind(-1)
        return torch.atan2(across, 1 + along) / 2

    def turned_grid(self, corners: Tensor, angles: Tensor, height: int, width: int) -> Tensor:
        """Turn the grids of `sampling_grid` about the centres of their regions, without shear on any map or region.

        Parameters
        ----------
        corners : (R, 4) tensor
        angles : (R,) tensor
            Radians.
        height, width : int
            Of the feature map.

        Returns
        -------
        (R, S, S, 2) tensor
        """
        grid = self.sampling_grid(corners, height, width)
        side = corners.new_tensor([width, height])
        centre = (corners[:, :2] + corners[:, 2:]) / side - 1
        x, y = ((grid - centre[:, None, None]) * side).unbind(-1)
        sine, less = torch.sin(angles)[:, None, None], (torch.cos(angles) - 1)[:, None, None]
        # added to Eq. 8, so that an angle of zero leaves it as it is to the last bit
        return grid + torch.stack([less * x - sine * y, sine * x + less * y], dim=-1) / side

    def crop(self, features: Tensor, image: Tensor, corners: Tensor) -> Tensor:
        """Crop regions as they are, predict their angles and crop them turned; see `STRoIExtractor.crop`."""
        angles = self.angles(super().crop(features, image, corners))
        return sample(features, image, self.turned_grid(corners, angles, *features.shape[-2:]))
