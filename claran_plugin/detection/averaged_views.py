"""Averaged views in mmdet's own test loop: what is seen in several flipped pictures of an image is put together."""

import numpy as np
import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData


@MODELS.register_module()
class AveragedViews(DetTTAModel):
    """mmdet's model of several views, which takes means where mmdet's keeps the surest view.

    Boxes of one class that suppress each other are one source. Its score is the mean over all views of the highest
    score in each, 0 where a view does not show it; its box is the mean of these boxes, weighted by their scores. After
    the weighted boxes fusion of Solovyev, Wang and Gabruseva (2021).

    Parameters
    ----------
    tta_cfg : dict
        ``nms``, whose ``iou_threshold`` tells which boxes are one source, and ``max_per_img``.
    """

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        """Put together what is seen in the views of an image.

        Parameters
        ----------
        data_samples : list of DetDataSample
            One for each view, with `bboxes` (n, 4), xyxy in pixels as flipped, `scores` and `labels` (n,).

        Returns
        -------
        DetDataSample with `bboxes` (m, 4), not flipped, `scores` and `labels` (m,), best first
        """
        found = [sample.pred_instances for sample in data_samples]
        boxes, scores = self.merge_aug_bboxes(
            [one.bboxes for one in found], [one.scores for one in found], [sample.metainfo for sample in data_samples]
        )
        merged = data_samples[0].clone()
        if not len(boxes):
            return merged
        labels = torch.cat([one.labels for one in found])
        view = np.repeat(np.arange(len(found)), [len(one) for one in found])
        _, kept = batched_nms(boxes, scores, labels, self.tta_cfg.nms)
        alike = (bbox_overlaps(boxes[kept], boxes) > self.tta_cfg.nms.iou_threshold) & (labels[kept, None] == labels)
        alike[torch.arange(len(kept)), kept] = True
        source = np.where(alike.any(dim=0).cpu(), alike.int().argmax(dim=0).cpu(), -1)
        order = np.argsort(-scores.cpu().numpy(), kind='stable')
        order = order[source[order] >= 0]
        # the first, surest one of each source in each view
        first = np.unique(source[order] * len(found) + view[order], return_index=True)[1]
        best = order[first]
        place = torch.from_numpy(source[best]).to(boxes.device)
        total = scores.new_zeros(len(kept)).index_add(0, place, scores[best])
        mean = boxes.new_zeros(len(kept), 4).index_add(0, place, boxes[best] * scores[best, None]) / total[:, None]
        surest = torch.argsort(total, descending=True, stable=True)[: self.tta_cfg.max_per_img]
        merged.pred_instances = InstanceData(
            bboxes=mean[surest], scores=total[surest] / len(found), labels=labels[kept][surest]
        )
        return merged
