"""A learned mixture of the input's channels (Wu et al. 2019, Section 5.2)."""

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class LearnedFusion(BaseModule):
    """A 1 x 1 convolution before the network, of whose three channels each is a weighted sum of the input's.

    It starts as the identity, so that the network begins with the pictures for which it has weights.

    Parameters
    ----------
    in_channels : int
        Channels of the input; three for the pictures of `claran_plugin.fusion`.
    """

    def __init__(self, in_channels: int = 3, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.mix = nn.Conv2d(in_channels, 3, 1)
        self._pass_through()

    def _pass_through(self) -> None:
        nn.init.dirac_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def init_weights(self) -> None:
        """Start as the identity, whatever the network around it has initialised its convolutions with."""
        super().init_weights()
        self._pass_through()

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn (B, in_channels, H, W) into (B, 3, H, W)."""
        return self.mix(pictures)
