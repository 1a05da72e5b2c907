"""The second stage, pooling at coordinates that may be part of the graph (Wu et al. 2019, Section 4.4)."""

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor


@MODELS.register_module()
class ClaranRoIHead(StandardRoIHead):
    """mmdet's `StandardRoIHead` for proposals that carry gradients.

    Regions are pooled at the proposals as they come, so that errors flow back into their coordinates. Which of them are
    foreground, and the offsets that are to be predicted for them, are computed from copies outside the graph: a target
    that moved with the prediction would not be one. With proposals that were cut off all is as in mmdet.
    """

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: list[InstanceData], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Give the losses of Eq. 9 and 10.

        Parameters
        ----------
        x : tuple of one (B, C, H, W) tensor
        rpn_results_list : list of B InstanceData
            Proposals `bboxes` (p, 4), xyxy in pixels of the input.
        batch_data_samples : list of B DetDataSample
            With `gt_instances`.

        Returns
        -------
        dict with `loss_cls` and `loss_bbox`, scalars, and the accuracy `acc` in per cent
        """
        truths, ignored, _ = unpack_gt_instances(batch_data_samples)
        samples, regions = [], []
        for image, (found, true, ignore) in enumerate(zip(rpn_results_list, truths, ignored, strict=True)):
            proposals = found.pop('bboxes')
            found.priors = proposals.detach()
            assigned = self.bbox_assigner.assign(found, true, ignore)
            feats = [level[image][None] for level in x]
            sample = self.bbox_sampler.sample(assigned, found, true, feats=feats)
            samples.append(sample)
            regions.append(self._sampled(sample, proposals, true))
        rois = bbox2roi(regions)
        results = self._bbox_forward(x, rois)
        return self.bbox_head.loss_and_target(
            cls_score=results['cls_score'],
            bbox_pred=results['bbox_pred'],
            rois=rois.detach(),
            sampling_results=samples,
            rcnn_train_cfg=self.train_cfg,
        )['loss_bbox']

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: list[InstanceData],
        rcnn_test_cfg: ConfigDict | None,
        rescale: bool = False,
    ) -> list[InstanceData]:
        """Judge the proposals of a batch.

        Where all that they are judged to be is asked for (`rcnn_test_cfg` is None) and the pictures have one shape,
        those of all pictures are worked on together, which is faster than mmdet's way; the numbers are the same.

        Parameters
        ----------
        x : tuple of one (B, C, H, W) tensor
        batch_img_metas : list of B dicts
            With `img_shape`.
        rpn_results_list : list of B InstanceData
            Proposals `bboxes` (p, 4), xyxy in pixels of the input.
        rcnn_test_cfg, rescale
            See mmdet.

        Returns
        -------
        B InstanceData with `bboxes` and `scores`; without a configuration (p, classes * 4) and (p, classes + 1)
        """
        boxes = [found.bboxes for found in rpn_results_list]
        number = [len(found) for found in boxes]
        alike = len({tuple(meta['img_shape'][:2]) for meta in batch_img_metas}) == 1
        if rcnn_test_cfg is not None or rescale or not alike or not sum(number):
            return super().predict_bbox(x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale)
        image = torch.arange(len(boxes)).repeat_interleave(torch.tensor(number))
        together = torch.cat(boxes)
        rois = torch.cat([image[:, None].to(together.device), together], dim=1)
        results = self._bbox_forward(x, rois)
        (judged,) = self.bbox_head.predict_by_feat(
            rois=(rois,),
            cls_scores=(results['cls_score'],),
            bbox_preds=(results['bbox_pred'],),
            batch_img_metas=batch_img_metas[:1],
            rcnn_test_cfg=None,
        )
        parts = zip(judged.bboxes.split(number), judged.scores.split(number), strict=True)
        return [InstanceData(bboxes=found, scores=score) for found, score in parts]

    def _sampled(self, sample: SamplingResult, proposals: Tensor, true: InstanceData) -> Tensor:
        """Give the boxes of a sample, foreground first, as they were before their copies left the graph; (n, 4)."""
        if self.bbox_sampler.add_gt_as_proposals and len(true.bboxes):
            proposals = torch.cat([get_box_tensor(true.bboxes), proposals])
        return proposals[torch.cat([sample.pos_inds, sample.neg_inds])]
