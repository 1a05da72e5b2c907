"""What several views of a picture show is averaged."""

from packed_subjects import detection

__all__ = ['detection']  # fixtures


def test_views_are_averaged(detection):
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.config import ConfigDict
    from mmengine.model import BaseModel
    from mmengine.structures import InstanceData

    def view(boxes, scores, labels, flipped=False):
        sample = DetDataSample(
            metainfo=dict(ori_shape=(100, 100), flip=flipped, flip_direction='horizontal' if flipped else None)
        )
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(scores, dtype=torch.float32),
            labels=torch.tensor(labels, dtype=torch.int64),
        )
        return sample

    class Detector(BaseModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            raise NotImplementedError

    options = ConfigDict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=3)
    views = detection.AveragedViews(module=Detector(), tta_cfg=options)
    seen = [
        # the second box of the first view is a weaker look at the same source, and does not count twice
        view([[10, 10, 30, 30], [11, 10, 31, 30], [60, 60, 80, 80]], [0.8, 0.5, 0.9], [0, 0, 1]),
        view([[66, 10, 86, 30], [60, 10, 80, 30]], [0.4, 0.1], [0, 2], flipped=True),  # 14 ... 34 and 20 ... 40
    ]
    (merged,) = views.merge_preds([seen])
    found = merged.pred_instances
    assert found.labels.tolist() == [0, 1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.45, 0.05]))
    middle = 10 + 4 * 0.4 / 1.2
    expected = [[middle, 10, middle + 20, 30], [60, 60, 80, 80], [20, 10, 40, 30]]
    torch.testing.assert_close(found.bboxes, torch.tensor(expected, dtype=torch.float32))
    assert merged.metainfo == seen[0].metainfo
    (nothing,) = views.merge_preds([[view([], [], []), view([], [], [], flipped=True)]])
    assert len(nothing.pred_instances) == 0
