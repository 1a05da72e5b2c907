"""VGG-16, the convolutional network of ClaRAN (Wu et al. 2019, Table 4, layers 1 to 17)."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

CONVOLUTIONS = (2, 2, 3, 3, 3)


@MODELS.register_module()
class ClaranVGG(BaseModule):
    """The 13 convolutions and 4 poolings of VGG-16; the last stage is not pooled.

    Parameters
    ----------
    widths : five ints
        Channels of the five stages.
    norm : bool
        Put batch normalisation after each convolution, which then has no bias of its own.
    frozen_stages : int
        How many of the first stages are not trained (the paper: 2, its layers 1, 2, 4 and 5).
    out_stages : sequence of int
        Stages, counted from 0, whose feature maps are returned; 4 is Conv5_3, at a sixteenth of the input's scale.
    first_pooling : bool
        Without it all maps are twice as fine, as if the input had been magnified twice, for half the work.
    train_in_bfloat16 : bool
        Multiply in bfloat16 while training, which current CPUs do twice as fast; the maps come out in float32. GPUs
        that only emulate it (before compute capability 8.0) stay in float32. (mmdet's operators take no bfloat16 on a
        CPU, so only the convolutions, where the time goes, run in it.)
    fusion : dict, optional
        Config of a module that turns the input into three channels before the first convolution.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        *,
        norm: bool = False,
        frozen_stages: int = 0,
        out_stages: Sequence[int] = (4,),
        first_pooling: bool = True,
        train_in_bfloat16: bool = False,
        fusion: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Kaiming', layer='Conv2d', a=0, nonlinearity='relu'))
        self.frozen_stages = frozen_stages
        self.out_stages = tuple(out_stages)
        self.train_in_bfloat16 = train_in_bfloat16
        self.fusion = nn.Identity() if fusion is None else MODELS.build(fusion)
        self.stages = nn.ModuleList()
        channels = 3
        for number, (width, depth) in enumerate(zip(widths, CONVOLUTIONS, strict=True)):
            pooled = number > 1 or (number == 1 and first_pooling)
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if pooled else []
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not norm))
                if norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            self.stages.append(nn.Sequential(*layers))
        self._freeze()

    def _freeze(self) -> None:
        for stage in self.stages[: self.frozen_stages]:
            stage.eval()
            stage.requires_grad_(False)

    def train(self, mode: bool = True) -> 'ClaranVGG':
        """Set training mode, but keep the frozen stages as they are."""
        super().train(mode)
        self._freeze()
        return self

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Give the feature maps of (B, 3, H, W): (B, widths[s], H / 2^s, W / 2^s) for each stage s asked for."""
        features = pictures.contiguous(memory_format=torch.channels_last)
        maps = []
        mixed = self.train_in_bfloat16 and self.training and _multiplies_in_bfloat16(pictures.device)
        # not 'enabled=mixed', which would switch off a mixed precision that the caller has chosen
        with torch.autocast(pictures.device.type, dtype=torch.bfloat16) if mixed else nullcontext():
            features = self.fusion(features)
            for number, stage in enumerate(self.stages):
                features = stage(features)
                if number in self.out_stages:
                    maps.append(features.float() if mixed else features)
        return tuple(maps)


def _multiplies_in_bfloat16(device: torch.device) -> bool:
    return device.type != 'cuda' or torch.cuda.is_bf16_supported(including_emulation=False)
