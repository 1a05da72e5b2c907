"""The two dense layers of the second stage, with dropout (Wu et al. 2019, Table 4, layers 24 to 28)."""

from typing import Any

from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ClaranBBoxHead(Shared2FCBBoxHead):
    """mmdet's `Shared2FCBBoxHead` with dropout after FC_6 and after FC_7; its weights have the same names.

    Parameters
    ----------
    dropout : float
        Probability with which an output of FC_6 or FC_7 is set to zero in training.
    *args, **kwargs
        Of mmdet's `Shared2FCBBoxHead`.
    """

    def __init__(self, *args: Any, dropout: float = 0.5, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Judge pooled regions.

        Parameters
        ----------
        x : (R, C, S, S) tensor

        Returns
        -------
        scores : (R, classes + 1) tensor, background last
        offsets : (R, classes * 4) tensor
        """
        x = x.flatten(1)
        for layer in self.shared_fcs:
            x = self.dropout(self.relu(layer(x)))
        return self.fc_cls(x), self.fc_reg(x)
