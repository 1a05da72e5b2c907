"""The two dense layers of the second stage, with dropout (Wu et al. 2019, Table 4, layers 24 to 28)."""

from typing import Any

import torch
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from torch import Tensor, nn

ROWS = 64
"""On a CPU regions are judged in multiples of this number."""


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
        number, x = len(x), x.flatten(1)
        if not torch.is_grad_enabled() and x.device.type == 'cpu':
            x = _filled_up(x)
        for layer in self.shared_fcs:
            x = self.dropout(self.relu(layer(x)))
        return self.fc_cls(x)[:number], self.fc_reg(x)[:number]


def _filled_up(x: Tensor) -> Tensor:
    """Append rows of zeros to x (R, n), up to a multiple of `ROWS`.

    oneDNN makes machine code for each number of rows that it meets, and keeps it: 3 MB each, up to a thousand times.
    """
    dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
    rows = x.new_empty((-(-len(x) // ROWS) * ROWS, x.shape[1]), dtype=dtype)
    rows[: len(x)] = x
    rows[len(x) :] = 0
    return rows
