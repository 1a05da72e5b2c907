"""Errors of the second stage reach the coordinates of the proposals (Wu et al. 2019, Section 4.4), and no further."""

import numpy as np
import pytest
import torch
from narrow_model import build, make_batch, narrow_config, total

pytestmark = pytest.mark.usefixtures('require_detector')

BOXES = [[[96.0, 110.0, 254.0, 261.0], [402.0, 371.0, 466.0, 440.0]], [[200.0, 180.0, 330.0, 310.0]]]
LABELS = [[2, 0], [5]]


def make_model(detach=False, seed=0):
    config = narrow_config()
    config.model.rpn_head.detach_proposals = detach
    model = build(config, seed)
    # the published first weights of the last layers predict next to nothing, hence next to no gradient
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.5)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_reg.weight, std=0.5)
    return model.train()


def second_stage_gradients(model):
    """Give the proposal network's gradients of the second stage's losses alone, by layer."""
    losses = model.loss(*make_batch(model, BOXES, LABELS))
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    return {name: parameter.grad for name, parameter in model.rpn_head.named_parameters()}


def test_the_second_stage_alone_trains_the_proposals_coordinates():
    gradients = second_stage_gradients(make_model())
    for name in ('rpn_reg.weight', 'rpn_reg.bias', 'rpn_conv.weight'):
        assert torch.isfinite(gradients[name]).all(), name
        assert gradients[name].abs().max() > 0, name
    # scores only rank
    assert gradients['rpn_cls.weight'] is None
    assert gradients['rpn_cls.bias'] is None


def test_not_where_proposals_are_cut_off():
    assert all(gradient is None for gradient in second_stage_gradients(make_model(detach=True)).values())


def test_the_switch_changes_no_loss():
    values = []
    for detach in (False, True):
        model = make_model(detach)
        torch.manual_seed(1)
        losses = model.loss(*make_batch(model, BOXES, LABELS))
        values.append({name: np.asarray(torch.stack(list(v)).detach() if isinstance(v, list) else v.detach())
                       for name, v in losses.items()})  # fmt: skip
    assert values[0].keys() == values[1].keys()
    for name, value in values[0].items():
        np.testing.assert_array_equal(value, values[1][name], err_msg=name)


def test_cut_off_it_is_mmdet_s_own():
    ours, theirs = (make_model(detach=True) for _ in range(2))
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.roi_heads import StandardRoIHead

    theirs.rpn_head.__class__, theirs.roi_head.__class__ = RPNHead, StandardRoIHead
    gradients = []
    for model in (ours, theirs):
        torch.manual_seed(1)
        total(model.loss(*make_batch(model, BOXES, LABELS))).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=0, atol=0, msg=name)


@pytest.fixture
def stage(monkeypatch):
    """Run the second stage and keep what its parts were called with."""
    model = make_model()
    noted = {}

    def spy(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            result = original(*args, **kwargs)
            noted[name] = (args, kwargs, result)
            if name == 'predict_by_feat':
                noted['proposals'] = [found.bboxes for found in result]
            return result

        monkeypatch.setattr(owner, name, call)

    spy(model.rpn_head, 'predict_by_feat')
    spy(model.roi_head.bbox_assigner, 'assign')
    spy(model.roi_head.bbox_sampler, 'sample')
    spy(model.roi_head.bbox_head, 'get_targets')
    spy(model.roi_head, '_bbox_forward')
    model.loss(*make_batch(model, BOXES, LABELS))
    return noted


def test_targets_are_not_part_of_the_graph(stage):
    assert not any(target.requires_grad for target in stage['get_targets'][2])
    assert not stage['assign'][0][0].priors.requires_grad
    assert not stage['assign'][2].max_overlaps.requires_grad
    sample = stage['sample'][2]
    assert not any(boxes.requires_grad for boxes in (sample.pos_priors, sample.neg_priors, sample.pos_gt_bboxes))


def test_scores_are_not_part_of_the_graph(stage):
    assert not any(found.scores.requires_grad for found in stage['predict_by_feat'][2])


def test_regions_are_pooled_where_they_were_assigned(stage):
    (_, rois), _, _ = stage['_bbox_forward']
    assert rois.requires_grad
    samples = stage['get_targets'][0][0]
    torch.testing.assert_close(rois[:, 1:], torch.cat([s.priors for s in samples]), rtol=0, atol=0)
    counts = torch.bincount(rois[:, 0].long())
    assert counts.tolist() == [len(s.priors) for s in samples]


def test_true_boxes_get_no_gradient_of_their_own(stage):
    # they were added to the proposals: what is pooled there does not come from the proposal network
    samples = stage['get_targets'][0][0]
    (_, rois), _, _ = stage['_bbox_forward']
    (gradient,) = torch.autograd.grad(rois[:, 1:].sum(), stage['proposals'][1])
    drawn = torch.cat([samples[1].pos_inds, samples[1].neg_inds]) - len(BOXES[1])
    expected = torch.zeros(len(gradient), 4)
    expected[drawn[drawn >= 0]] = 1
    torch.testing.assert_close(gradient, expected)
    assert (drawn < 0).any()


def test_a_step_along_the_gradient_of_the_coordinates_lowers_the_loss():
    """The gradient is the right one: the second stage's classification gets better with offsets moved against it."""
    model = make_model().eval()  # no dropout

    def loss(model):
        torch.manual_seed(2)  # the same sample
        losses = model.loss(*make_batch(model, BOXES, LABELS))
        return losses['loss_cls']

    before = loss(model)
    before.backward()
    bias = model.rpn_head.rpn_reg.bias
    slope = float(bias.grad.square().sum())
    step = 1e-4 / slope**0.5
    with torch.no_grad():
        bias -= step * bias.grad
    change = float(loss(model).detach() - before.detach())
    assert change == pytest.approx(-step * slope, rel=0.3)


@pytest.mark.parametrize('boxes', [[[], []], [[[100.0, 100.0, 200.0, 200.0]], []]])
def test_pictures_without_a_source(boxes):
    model = make_model()
    losses = model.loss(*make_batch(model, boxes, [[1] * len(own) for own in boxes]))
    total(losses).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_in_evaluation_nothing_changes():
    models = [make_model(detach).eval() for detach in (False, True)]
    for model in models:
        model.test_cfg.rcnn.score_thr = model.roi_head.test_cfg.score_thr = 0.0
    found = []
    for model in models:
        pictures, samples = make_batch(model, BOXES, LABELS)
        with torch.no_grad():
            found.append([sample.pred_instances for sample in model.predict(pictures, samples)])
    for ours, theirs in zip(*found, strict=True):
        assert len(ours) > 0
        torch.testing.assert_close(ours.bboxes, theirs.bboxes, rtol=0, atol=0)
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=0)


@pytest.mark.parametrize('detach', [False, True])
def test_boxes_are_computed_in_float32(detach):
    head = make_model(detach).rpn_head.eval()
    maps = [torch.zeros(1, channels, 37, 37, dtype=torch.bfloat16) for channels in (12, 24)]
    meta = dict(img_shape=(600, 600))
    (found,) = head.predict_by_feat([maps[0]], [maps[1]], batch_img_metas=[meta], cfg=head.test_cfg)
    (exact,) = head.predict_by_feat([maps[0].float()], [maps[1].float()], batch_img_metas=[meta], cfg=head.test_cfg)
    assert found.bboxes.dtype == torch.float32
    torch.testing.assert_close(found.bboxes, exact.bboxes, rtol=0, atol=0)


def test_training_stays_stable():
    """Thirty steps at the published rate and momentum, on two pictures: all finite, and the loss goes down."""
    model = make_model()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.001, momentum=0.9)
    batch = make_batch(model, BOXES, LABELS)
    course = []
    for _ in range(30):
        loss = total(model.loss(*batch))
        optimiser.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        optimiser.step()
        course.append(loss.item())
    assert np.isfinite(course).all()
    assert np.mean(course[-5:]) < np.mean(course[:5])
