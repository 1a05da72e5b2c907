"""The proposal network with proposals that stay in the graph (Wu et al. 2019, Sections 4.3 and 4.4)."""

from typing import Any

import torch
from mmcv.ops import nms
from mmdet.models.dense_heads import RPNHead
from mmdet.models.utils import select_single_mlvl
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from claran_plugin.detection.groups import rank_within_group

MOST_TOGETHER = 20_000
"""Boxes that a GPU suppresses at once; the memory grows with the square, 50 MB for these."""
MOST_PICKED = 50
"""Up to so many proposals of a picture, a GPU picks the best ones of all pictures in turn instead."""
THRESHOLDS = {'iou_threshold', 'score_threshold'}
"""Options of suppression that are the same for a batch as for each picture."""


@MODELS.register_module()
class ClaranRPNHead(RPNHead):
    """mmdet's `RPNHead`, whose proposals carry the gradient of their coordinates.

    The paper trains both stages as one: the errors of the second reach the coordinates of the proposals (Section 4.4),
    and from there the convolution that predicts the anchors' offsets. mmdet cuts the boxes off first; so did the
    authors' code. The scores, which only rank the proposals, are cut off either way.

    Parameters
    ----------
    detach_proposals : bool
        Cut the coordinates off too, as mmdet does.
    *args, **kwargs
        Of mmdet's `RPNHead`.
    """

    def __init__(self, *args: Any, detach_proposals: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.detach_proposals = detach_proposals

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Turn the maps of a batch into proposals.

        Parameters
        ----------
        cls_scores, bbox_preds : list of one (B, A * 2, H, W) and one (B, A * 4, H, W) tensor
            Objectness and offsets of the A anchors of each pixel.
        score_factors
            Not used.
        batch_img_metas : list of B dicts
        cfg : dict, optional
            Number of proposals, suppression and so on; `test_cfg` by default.
        rescale, with_nms : bool
            See mmdet.

        Returns
        -------
        B InstanceData with `bboxes` (p, 4), xyxy in pixels of the input, and `scores` (p,), best first
        """
        # half precision does not tell neighbouring pixels apart in a picture of 600
        cls_scores, bbox_preds = ([_at_least_float32(level) for level in maps] for maps in (cls_scores, bbox_preds))
        if self.detach_proposals or not torch.is_grad_enabled():
            cfg = self.test_cfg if cfg is None else cfg
            metas = batch_img_metas or []
            alike = len(cls_scores) == 1 and len({tuple(meta['img_shape'][:2]) for meta in metas}) == 1
            inside = getattr(self.bbox_coder, 'clip_border', False)  # so that pictures are moved apart by their width
            if alike and inside and _is_common(cfg) and with_nms and not rescale:
                return self._proposals_of_batch(cls_scores[0].detach(), bbox_preds[0].detach(), metas[0], cfg)
            return super().predict_by_feat(
                cls_scores, bbox_preds, score_factors, batch_img_metas, cfg, rescale, with_nms
            )
        priors = self.prior_generator.grid_priors(
            [scores.shape[-2:] for scores in cls_scores], dtype=cls_scores[0].dtype, device=cls_scores[0].device
        )
        proposals = [
            self._predict_by_feat_single(
                cls_score_list=select_single_mlvl(cls_scores, image, detach=True),
                bbox_pred_list=select_single_mlvl(bbox_preds, image, detach=False),
                score_factor_list=[None] * len(cls_scores),
                mlvl_priors=priors,
                img_meta=meta,
                cfg=cfg,
                rescale=rescale,
                with_nms=with_nms,
            )
            for image, meta in enumerate(batch_img_metas or [])
        ]
        for found in proposals:
            found.scores = found.scores.detach()  # suppression has put them into one tensor with the boxes
        return proposals

    def _proposals_of_batch(self, scores: Tensor, offsets: Tensor, meta: dict, cfg: ConfigDict) -> list[InstanceData]:
        """Do what mmdet does for each picture by itself for all of a batch, of one shape, together: faster.

        Parameters
        ----------
        scores, offsets : (B, A, H, W) and (B, A * 4, H, W) tensors
        meta : dict
            With `img_shape`.
        cfg : dict
            See `predict_by_feat`.
        """
        (priors,) = self.prior_generator.grid_priors([scores.shape[-2:]], dtype=scores.dtype, device=scores.device)
        batch = len(scores)
        scores = scores.permute(0, 2, 3, 1).reshape(batch, -1, self.cls_out_channels)
        # of two classes the second is the background
        scores = scores[..., 0] if self.use_sigmoid_cls else scores.softmax(dim=-1)[..., 0]
        offsets = offsets.permute(0, 2, 3, 1).reshape(batch, -1, 4)
        number = cfg.get('nms_pre', -1)
        if not 0 < number < scores.shape[1]:
            number = scores.shape[1]
        scores, rank = scores.topk(number, dim=1)
        if self.use_sigmoid_cls:
            scores = scores.sigmoid()
        offsets = offsets.gather(1, rank[..., None].expand(-1, -1, 4))
        boxes = self.bbox_coder.decode(
            priors[rank.flatten()], offsets.reshape(-1, 4), max_shape=meta['img_shape']
        ).unflatten(0, (batch, -1))
        large = (boxes[..., 2:] - boxes[..., :2] > cfg.get('min_bbox_size', -1)).all(dim=-1)
        on_cpu = boxes.device.type == 'cpu'
        if not on_cpu and 0 < cfg.max_per_img <= MOST_PICKED:
            return _picked(boxes, scores, large, cfg)
        # a GPU suppresses many boxes as fast as few; on a CPU the time grows with the square
        together = 1 if on_cpu else max(MOST_TOGETHER // number, 1)
        parts = zip(*(values.split(together) for values in (boxes, scores, large)), strict=True)
        shift = float(max(meta['img_shape'][:2])) + 1
        return [found for part in parts for found in _suppressed(*part, shift, cfg)]


def _suppressed(boxes: Tensor, scores: Tensor, wanted: Tensor, shift: float, cfg: ConfigDict) -> list[InstanceData]:
    """Suppress what overlaps a better one of the same picture.

    Parameters
    ----------
    boxes, scores, wanted : (B, K, 4), (B, K) and (B, K) bool tensors
        Those that are not wanted are left out first.
    shift : float
        A box of one picture moved by so much overlaps none of the same place.
    cfg : dict
        See `ClaranRPNHead.predict_by_feat`.
    """
    batch = len(boxes)
    image, place = wanted.nonzero(as_tuple=True)
    boxes, scores = boxes[image, place], scores[image, place]
    apart = boxes if batch == 1 else boxes + (image * shift)[:, None]
    suppression = {key: value for key, value in cfg.nms.items() if key in THRESHOLDS}
    kept = nms(apart, scores, **suppression)[1]
    kept = kept[rank_within_group(image[kept], batch) < cfg.max_per_img]
    kept = kept[torch.argsort(image[kept], stable=True)]  # picture by picture, best first
    return _each(boxes[kept], scores[kept], torch.bincount(image[kept], minlength=batch))


def _picked(boxes: Tensor, scores: Tensor, wanted: Tensor, cfg: ConfigDict) -> list[InstanceData]:
    """Do what `_suppressed` does, proposal by proposal for all pictures at once.

    Suppression on a GPU goes through all boxes one after the other, of which there are thousands for each picture, to
    keep a few. Here what it does in turn are the few, and pictures need not be moved apart.

    Parameters
    ----------
    boxes, scores, wanted : (B, K, 4), (B, K) and (B, K) bool tensors
        Best first.
    cfg : dict
        See `ClaranRPNHead.predict_by_feat`.
    """
    number = scores.shape[1]
    least = cfg.nms.get('score_threshold', 0)
    left = wanted & (scores > least) if least > 0 else wanted
    area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    earlier = torch.arange(number, 0, -1, device=boxes.device)
    places, are_there = [], []
    for _ in range(min(cfg.max_per_img, number)):
        place = (left * earlier).argmax(dim=1, keepdim=True)
        places.append(place)
        are_there.append(left.any(dim=1))
        best = boxes.gather(1, place[..., None].expand(-1, -1, 4))
        sides = torch.minimum(boxes[..., 2:], best[..., 2:]) - torch.maximum(boxes[..., :2], best[..., :2])
        common = sides.clamp(min=0).prod(dim=-1)
        overlap = common / (area + area.gather(1, place) - common)
        left = (left & ~(overlap > cfg.nms.iou_threshold)).scatter(1, place, value=False)
    there = torch.stack(are_there, dim=1)
    image, rank = there.nonzero(as_tuple=True)  # picture by picture, best first
    kept = torch.cat(places, dim=1)[image, rank]
    return _each(boxes[image, kept], scores[image, kept], there.sum(dim=1))


def _each(boxes: Tensor, scores: Tensor, number: Tensor) -> list[InstanceData]:
    """Give each picture its boxes and scores, of which the first has the first so many, and so on."""
    numbers = number.cpu().tolist()
    parts = (boxes, scores, number.new_zeros(len(scores)))
    return [
        InstanceData(bboxes=found, scores=score, labels=label)
        for found, score, label in zip(*(values.split(numbers) for values in parts), strict=True)
    ]


def _is_common(cfg: ConfigDict) -> bool:
    """Tell whether a configuration asks for nothing that only mmdet's way of picture by picture knows."""
    nms_cfg, most = cfg.get('nms'), cfg.get('max_per_img')
    if nms_cfg is None or nms_cfg.get('type', 'nms') != 'nms' or most is None or most < 0:
        return False
    return {'iou_threshold'} <= set(nms_cfg) - {'type', 'class_agnostic', 'split_thr'} <= THRESHOLDS


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
