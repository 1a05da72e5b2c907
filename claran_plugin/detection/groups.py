"""Members of groups, such as the boxes of each picture of a batch."""

import torch
from torch import Tensor


def rank_within_group(group: Tensor, n_groups: int) -> Tensor:
    """Number the members of each group from 0, in order of appearance; (R,) from (R,)."""
    order = torch.argsort(group, stable=True)
    number = torch.bincount(group, minlength=n_groups)
    first = torch.cumsum(number, 0) - number
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group), device=group.device) - first[group[order]]
    return rank
