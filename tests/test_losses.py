"""The four losses as the configured model computes them, against float64 numpy (Wu et al. 2019, Eq. 4, 6, 9, 10)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from narrow_model import build, make_batch, narrow_config
from scipy.special import log_softmax

pytestmark = pytest.mark.usefixtures('require_detector')

SIZE = 600
INSIDE = 5_241
"""|A'| of Eq. 6."""
BOXES = [[[96.0, 110.0, 254.0, 261.0], [402.0, 371.0, 466.0, 440.0], [20.0, 500.0, 43.0, 521.0]]]
LABELS = [[2, 0, 5]]
STDS = np.array([0.1, 0.1, 0.2, 0.2])


@pytest.fixture(scope='module')
def run(require_detector):
    """Compute the losses of one picture and note what went into them."""
    model = build(narrow_config())
    model.train()
    # first weights predict nothing; make the predictions large enough for both branches of the losses
    torch.manual_seed(1)
    for layer in (model.rpn_head.rpn_cls, model.rpn_head.rpn_reg):
        torch.nn.init.normal_(layer.bias, std=0.5)
        torch.nn.init.normal_(layer.weight, std=0.5)
    for layer in (model.roi_head.bbox_head.fc_cls, model.roi_head.bbox_head.fc_reg):
        torch.nn.init.normal_(layer.bias, std=1)
    noted = SimpleNamespace()

    def note(name):
        def keep(module, inputs, output):
            setattr(noted, name, list(output))

        return keep

    model.rpn_head.register_forward_hook(note('maps'))
    model.roi_head.bbox_head.register_forward_hook(note('judged'))
    for name, sampler in (('anchors', model.rpn_head.sampler), ('regions', model.roi_head.bbox_sampler)):
        sampler.sample = keep_result(sampler.sample, noted, name)
    losses = model.loss(*make_batch(model, BOXES, LABELS))
    noted.losses = {name: sum(v) if isinstance(v, list) else v for name, v in losses.items()}
    return noted


def keep_result(function, noted, name):
    def call(*args, **kwargs):
        setattr(noted, name, function(*args, **kwargs))
        return getattr(noted, name)

    return call


def value(run, name):
    return run.losses[name].item()


def anchors():
    """Make all anchors: pixel by pixel, row by row, six sizes each."""
    y, x = np.mgrid[:37, :37] * 16.0 + 8
    centres = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    halves = 8.0 * np.array([1, 2, 4, 8, 16, 32])[:, None] * np.array([-1, -1, 1, 1])
    return (centres + halves).reshape(-1, 4)


def overlaps(a, b):
    """Give the intersection over union of boxes (n, 4) and (m, 4); (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def offsets(a, b):
    """Give g of Eq. 5 from boxes a to b."""
    side_a, side_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    moved = ((b[:, 2:] + b[:, :2]) - (a[:, 2:] + a[:, :2])) / 2 / side_a
    return np.concatenate([moved, np.log(side_b / side_a)], axis=1)


def smooth_l1(x, sigma):
    """Give the Huber loss, quadratic below 1 / sigma^2."""
    return np.where(np.abs(x) < 1 / sigma**2, 0.5 * (sigma * x) ** 2, np.abs(x) - 0.5 / sigma**2)


@pytest.fixture(scope='module')
def drawn(run):
    """Give the anchors inside, which of them were drawn, and each one's best source."""
    inside = anchors()
    inside = inside[((inside >= 0) & (inside <= SIZE)).all(1)]
    assert len(inside) == INSIDE
    truth = np.array(BOXES[0])
    found = overlaps(inside, truth)
    return SimpleNamespace(
        boxes=inside,
        positive=run.anchors.pos_inds.numpy(),
        negative=run.anchors.neg_inds.numpy(),
        best=found.argmax(1),
        overlap=found.max(1),
        best_of_source=found.max(0),
        table=found,
        truth=truth,
    )


def inside_maps(run):
    """Give objectness (5241, 2), source first, and offsets (5241, 4) of the anchors inside."""
    everything = anchors()
    keep = ((everything >= 0) & (everything <= SIZE)).all(1)
    scores, moves = (
        level[0].detach().double().permute(1, 2, 0).reshape(len(everything), -1).numpy()[keep] for (level,) in run.maps
    )
    return scores, moves


def test_anchors_are_drawn_as_in_section_4_3(drawn):
    assert len(drawn.positive) + len(drawn.negative) == 256
    assert len(drawn.positive) <= 128
    best = (drawn.table == drawn.best_of_source).any(1)
    assert ((drawn.overlap >= 0.7) | best)[drawn.positive].all()
    assert (drawn.overlap[drawn.negative] < 0.3).all()
    # every source has an anchor, also those that no anchor overlaps by 0.7
    assert drawn.best_of_source.min() < 0.7
    assert set(drawn.best[drawn.positive]) == {0, 1, 2}


def test_equation_4(run, drawn):
    scores, _ = inside_maps(run)
    log_p = log_softmax(scores, axis=1)
    expected = -(log_p[drawn.positive, 0].sum() + log_p[drawn.negative, 1].sum()) / 256
    assert value(run, 'loss_rpn_cls') == pytest.approx(expected, rel=1e-5)


def test_equation_6(run, drawn):
    _, moves = inside_maps(run)
    wanted = offsets(drawn.boxes[drawn.positive], drawn.truth[drawn.best[drawn.positive]])
    error = moves[drawn.positive] - wanted
    assert (np.abs(error) < 1 / 9).any()
    assert (np.abs(error) > 1 / 9).any()
    expected = smooth_l1(error, sigma=3).sum() / INSIDE
    assert value(run, 'loss_rpn_bbox') == pytest.approx(expected, rel=1e-5)


def regions(run):
    """Give the 128 regions, foreground first, their best source and the overlap with it."""
    boxes = run.regions.priors.double().numpy()
    found = overlaps(boxes, np.array(BOXES[0]))
    return boxes, found.argmax(1), found.max(1)


def test_regions_are_drawn_as_in_section_4_3(run):
    boxes, _, overlap = regions(run)
    n = len(run.regions.pos_inds)
    assert len(boxes) <= 128
    assert 3 <= n <= 32  # the true boxes themselves are among the proposals
    assert (overlap[:n] >= 0.5).all()
    assert ((overlap[n:] >= 0.1) & (overlap[n:] < 0.5)).all()


def test_equation_9(run):
    boxes, best, _ = regions(run)
    n = len(run.regions.pos_inds)
    classes = np.full(len(boxes), 6)
    classes[:n] = np.array(LABELS[0])[best[:n]]
    scores = run.judged[0].detach().double().numpy()
    expected = -log_softmax(scores, axis=1)[np.arange(len(boxes)), classes].mean()
    assert value(run, 'loss_cls') == pytest.approx(expected, rel=1e-5)


def test_equation_10(run):
    boxes, best, _ = regions(run)
    n = len(run.regions.pos_inds)
    truth, labels = np.array(BOXES[0])[best[:n]], np.array(LABELS[0])[best[:n]]
    predicted = run.judged[1].detach().double().numpy().reshape(len(boxes), 6, 4)[np.arange(n), labels]
    error = predicted - offsets(boxes[:n], truth) / STDS
    assert (np.abs(error) < 1).any()
    assert (np.abs(error) > 1).any()
    expected = smooth_l1(error, sigma=1).sum() / len(boxes)
    assert value(run, 'loss_bbox') == pytest.approx(expected, rel=1e-5)


def test_equation_11(run):
    """Nothing else is added up: no penalty on the weights, in the losses or in the optimiser."""
    assert {name for name in run.losses if 'loss' in name} == {
        'loss_rpn_cls',
        'loss_rpn_bbox',
        'loss_cls',
        'loss_bbox',
    }
    assert narrow_config().optim_wrapper.optimizer.weight_decay == 0
