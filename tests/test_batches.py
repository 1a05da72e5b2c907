"""A batch is worked on as a whole, and comes to what mmdet finds in each picture by itself."""

import pytest
import torch
from narrow_model import build, narrow_config, read_config

pytestmark = pytest.mark.usefixtures('require_detector')

SIDE = 132
METAS = [dict(img_shape=(SIDE, SIDE))] * 3


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert set(one.keys()) == set(other.keys())
        for key, values in other.items():
            torch.testing.assert_close(one[key], values, rtol=0, atol=0, check_dtype=len(one) > 0)


@pytest.mark.parametrize('smallest', [0, 12, 1000])
@pytest.mark.parametrize('name', ['claran_compact', 'claran_d1_vgg16'])
def test_proposals(name, smallest):
    from mmdet.models.dense_heads import RPNHead

    config = read_config(name)
    ours, theirs = (build(config, 0).rpn_head.eval() for _ in range(2))
    theirs.__class__ = RPNHead
    torch.manual_seed(2)
    channels = ours.rpn_cls.out_channels, ours.rpn_reg.out_channels
    maps = [torch.randn(3, number, 33, 33) for number in channels]
    for layout in (torch.contiguous_format, torch.channels_last):
        scores, offsets = ([part.to(memory_format=layout)] for part in maps)
        for kind in ('train', 'test'):
            parts = config.model[f'{kind}_cfg']
            cfg = (parts.rpn_proposal if kind == 'train' else parts.rpn).copy()
            cfg.min_bbox_size = smallest
            expected = theirs.predict_by_feat(scores, offsets, batch_img_metas=METAS, cfg=cfg)
            with torch.no_grad():
                found = ours.predict_by_feat(scores, offsets, batch_img_metas=METAS, cfg=cfg)
            assert (len(found[0]) == 0) == (smallest == 1000)
            assert_same(found, expected)


@pytest.mark.parametrize(
    'options',
    [
        dict(max_per_img=-1),
        dict(max_per_img=None),
        dict(nms=None),
        dict(nms=dict(iou_thr=0.7)),
        dict(nms=dict(type='nms', iou_threshold=0.7, max_num=7)),
        dict(nms=dict(type='nms', iou_threshold=0.7, offset=1)),
        dict(nms=dict(type='nms', iou_threshold=0.7, score_threshold=0.6, split_thr=10)),
        dict(nms=dict(type='soft_nms', iou_threshold=0.5)),
        dict(nms_pre=-1, min_bbox_size=-1),
    ],
    ids=str,
)
def test_options_that_mmdet_knows(options):
    from mmdet.models.dense_heads import RPNHead
    from mmengine.config import ConfigDict

    config = read_config('claran_compact')
    ours, theirs = (build(config, 0).rpn_head.eval() for _ in range(2))
    theirs.__class__ = RPNHead
    torch.manual_seed(2)
    maps = [[scale * torch.randn(3, number, 12, 12)] for number, scale in ((6, 1), (24, 3))]
    cfg = ConfigDict(config.model.test_cfg.rpn.to_dict() | options)
    expected = theirs.predict_by_feat(*maps, batch_img_metas=METAS, cfg=cfg)
    assert all(map(len, expected))
    assert_same(ours.predict_by_feat(*maps, batch_img_metas=METAS, cfg=cfg), expected)


def test_boxes_that_reach_beyond_their_picture_are_suppressed_alone(monkeypatch):
    from claran_plugin.detection import rpn_head

    config = read_config('claran_compact')
    config.model.rpn_head.bbox_coder.clip_border = False
    head = build(config, 0).rpn_head.eval()
    monkeypatch.delattr(rpn_head, '_suppressed')  # whose pictures are moved apart by their width
    maps = [[torch.randn(3, number, 12, 12)] for number in (6, 24)]
    found = head.predict_by_feat(*maps, batch_img_metas=METAS)
    assert max(one.bboxes.max() for one in found) > SIDE


def test_boxes_of_several_pictures_are_suppressed_together():
    from claran_plugin.detection.rpn_head import _suppressed

    cfg = read_config('claran_compact').model.test_cfg.rpn
    torch.manual_seed(3)
    corner = torch.rand(4, 300, 2) * 100
    boxes = torch.cat([corner, corner + torch.rand(4, 300, 2) * 30 + 2], dim=-1)
    scores = torch.rand(4, 300)
    wanted = torch.rand(4, 300) < 0.9
    wanted[2] = False
    wanted[3, 5:] = False
    alone = [_suppressed(*(part[k : k + 1] for part in (boxes, scores, wanted)), SIDE, cfg)[0] for k in range(4)]
    assert [len(found) for found in alone][:3] == [cfg.max_per_img, cfg.max_per_img, 0]
    assert_same(_suppressed(boxes, scores, wanted, SIDE, cfg), alone)


@pytest.mark.parametrize('most', [1, 5, 30, 1000])
@pytest.mark.parametrize('score_threshold', [0, 0.4])
def test_boxes_that_are_picked_are_those_that_suppression_leaves(most, score_threshold):
    from mmengine.config import ConfigDict

    from claran_plugin.detection.rpn_head import _picked, _suppressed

    cfg = ConfigDict(max_per_img=most, nms=dict(type='nms', iou_threshold=0.3, score_threshold=score_threshold))
    torch.manual_seed(3)
    corner = torch.rand(6, 300, 2) * 100
    boxes = torch.cat([corner, corner + torch.rand(6, 300, 2) * 30 + 2], dim=-1)
    boxes[0, 20:40] = boxes[0, :20]
    boxes[1, ::7, 2:] = boxes[1, ::7, :2]  # without an area
    scores = torch.rand(6, 300).sort(dim=1, descending=True).values
    wanted = torch.rand(6, 300) < 0.9
    wanted[2] = False
    wanted[3, 5:] = False
    alone = [_suppressed(*(part[k : k + 1] for part in (boxes, scores, wanted)), SIDE, cfg)[0] for k in range(6)]
    found = _picked(boxes, scores, wanted, cfg)
    assert [len(one) for one in found][2] == 0
    assert_same(found, alone)


@pytest.mark.parametrize('numbers', [(3, 0, 2), (0, 0, 0)])
def test_regions(numbers):
    from mmdet.models.roi_heads import StandardRoIHead
    from mmengine.structures import InstanceData

    config = narrow_config()
    ours, theirs = (build(config, 0).roi_head.eval() for _ in range(2))
    theirs.__class__ = StandardRoIHead
    torch.manual_seed(4)
    corner = [torch.rand(number, 2) * 300 for number in numbers]
    proposals = [InstanceData(bboxes=torch.cat([part, part + 90], dim=-1)) for part in corner]
    maps = (torch.randn(3, ours.bbox_roi_extractor.out_channels, 37, 37),)
    metas = [dict(img_shape=(600, 600))] * 3
    with torch.no_grad():
        found, expected = (head.predict_bbox(maps, metas, proposals, None) for head in (ours, theirs))
    assert [len(one) for one in found] == list(numbers)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=0)
        if len(one):  # otherwise mmdet's boxes are as wide as those of one class
            torch.testing.assert_close(one.bboxes, other.bboxes, rtol=0, atol=0)


def test_pictures_without_proposals():
    from mmengine.structures import InstanceData

    from claran_plugin.detection.inference import _in_numpy

    some = InstanceData(bboxes=torch.rand(2, 24), scores=torch.rand(2, 7))
    none = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0, 7))
    for batch in ([none, some, none], [some], [none, none]):
        found = _in_numpy(batch, 1.0)
        assert [one.bboxes.shape for one in found] == [(len(one), 6, 4) for one in batch]
        assert [one.scores.shape for one in found] == [(len(one), 6) for one in batch]
