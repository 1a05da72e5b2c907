"""Pooling with a learned angle per region (Wu et al. 2019, Section 7)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures('require_detector')

SIZE, STRIDE = 24, 4
"""Side of a feature map that is one source's picture, and pixels of the input per pixel of it."""


@pytest.fixture
def extractors(require_detector):
    from claran_plugin.detection import RotatingSTRoIExtractor, STRoIExtractor

    torch.manual_seed(0)
    return RotatingSTRoIExtractor(1, [STRIDE], 7), STRoIExtractor(1, [STRIDE], 7)


def doubles(angles, separation=6.0, brightness=1.0):
    """Draw double radio sources along `angles` (R,), radians; (R, 1, SIZE, SIZE)."""
    y, x = torch.meshgrid(*[torch.arange(SIZE) + 0.5 - SIZE / 2] * 2, indexing='ij')
    cosine, sine = angles.cos()[:, None, None], angles.sin()[:, None, None]
    along, across = cosine * x + sine * y, cosine * y - sine * x
    half = torch.as_tensor(separation).reshape(-1, 1, 1)
    lobes = [torch.exp(-((along - place) ** 2 + across**2) / 8) for place in (-half, half)]
    return brightness * sum(lobes)[:, None]


def whole(number):
    """Give one region over all of each picture."""
    side = SIZE * STRIDE
    return torch.tensor([[image, 0, 0, side, side] for image in range(number)], dtype=torch.float32)


def spread(crops):
    """Give how far equal sources' crops are from their mean, as a fraction of it."""
    mean = crops.mean(0)
    return float(((crops - mean).square().sum((1, 2, 3)).mean() / mean.square().sum()).sqrt())


def train(parameters, loss, steps):
    optimiser = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def circle(number=72):
    return torch.linspace(0, 2 * math.pi, number + 1)[:-1]


def test_starts_as_equation_8(extractors):
    rotating, plain = extractors
    torch.manual_seed(1)
    feats = torch.randn(3, 1, 11, 17)
    corner = torch.rand(40, 2) * 30
    rois = torch.cat([torch.randint(0, 3, (40, 1)), corner, corner + torch.rand(40, 2) * 30], dim=1)
    torch.testing.assert_close(rotating((feats,), rois), plain((feats,), rois), rtol=0, atol=0)
    assert torch.all(rotating.angles(torch.randn(5, 1, 7, 7)) == 0)


def test_starts_as_equation_8_after_mmengine_s_initialisation(require_detector):
    from narrow_model import build, narrow_config

    model = build(narrow_config('claran_d1_vgg16_rotation'))
    assert torch.all(model.roi_head.bbox_roi_extractor.angles(torch.randn(5, 16, 7, 7)) == 0)


def test_gradients_flow(extractors):
    rotating, _ = extractors
    feats = doubles(torch.tensor([0.4, 2.0])).requires_grad_()
    rois = whole(2).requires_grad_()
    weights = torch.rand(2, 1, 7, 7)
    # what a network that starts at zero gets first: its last layer's gradient
    (rotating((feats,), rois) * weights).sum().backward()
    last = rotating.localisation[-1]
    assert last.weight.grad[1].abs().max() > 0
    with torch.no_grad():
        last.weight += 0.1 * torch.randn_like(last.weight)
    rotating.zero_grad()
    (rotating((feats,), rois) * weights).sum().backward()
    for tensor in (*rotating.parameters(), feats, rois):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


def test_derivatives(extractors):
    rotating = extractors[0].double()
    torch.manual_seed(2)
    nn.init.normal_(rotating.localisation[-1].weight, std=0.3)
    feats = torch.randn(2, 1, 9, 8, dtype=torch.float64, requires_grad=True)
    corners = torch.tensor([[4.3, 2.1, 20.2, 27.7], [3.1, 7.3, 29.3, 30.1]], dtype=torch.float64, requires_grad=True)

    def pool(features, regions):
        return rotating((features,), torch.cat([torch.tensor([[1.0], [0.0]]), regions], dim=1))

    assert torch.autograd.gradcheck(pool, (feats, corners), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(('height', 'width'), [(20, 20), (12, 30)])
def test_the_grid_is_turned_without_shear(extractors, height, width):
    rotating, _ = extractors
    corners = torch.tensor([[2.0, 3.0, 10.0, 9.0]])
    angle = torch.tensor([0.7])
    grid = rotating.turned_grid(corners, angle, height, width)[0]
    found = (grid.numpy() + 1) / 2 * (width, height)
    x, y = np.meshgrid(np.linspace(-4, 4, 7), np.linspace(-3, 3, 7))
    turn = np.array([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]])
    expected = np.stack([x, y], -1) @ turn.T + (6, 6)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_turned_by_its_angle_a_source_lies_level(extractors):
    rotating, plain = extractors
    level = plain((doubles(torch.zeros(1)),), whole(1))
    for angle in (0.3, -1.1):
        grid = rotating.turned_grid(whole(1)[:, 1:] / STRIDE, torch.tensor([angle]), SIZE, SIZE)
        turned = nn.functional.grid_sample(doubles(torch.tensor([angle])), grid, align_corners=False)
        torch.testing.assert_close(turned, level, rtol=0, atol=0.03)


def test_learns_the_angle(extractors):
    """Shown sources at all angles and what one of them looks like level, it finds the others' angles."""
    rotating, plain = extractors
    level = plain((doubles(torch.zeros(1)),), whole(1))

    def loss():
        return (rotating((doubles(2 * math.pi * torch.rand(64)),), whole(64)) - level).square().mean()

    train(rotating.parameters(), loss, 200)
    true = circle()
    with torch.no_grad():
        found = rotating.angles(plain((doubles(true),), whole(72)))
        bright = rotating.angles(plain((doubles(true, brightness=30),), whole(72)))
    # an axis has no head: angles count modulo pi
    error = torch.remainder(found - true + math.pi / 2, math.pi) - math.pi / 2
    assert float(error.abs().max()) < math.radians(3)
    torch.testing.assert_close(bright, found, rtol=0, atol=0.01)


def test_equal_sources_give_closer_features_than_without(extractors):
    """From classes alone: wide and narrow doubles at any angle, told apart by one dense layer on the pooled map."""
    true = circle()
    spreads = {}
    for extractor in extractors:
        torch.manual_seed(3)
        judge = nn.Linear(49, 2)

        def loss(extractor=extractor, judge=judge):
            kind = torch.randint(0, 2, (64,))
            pooled = extractor((doubles(2 * math.pi * torch.rand(64), 7 - 3.0 * kind),), whole(64))
            return nn.functional.cross_entropy(judge(pooled.flatten(1)), kind)

        train([*extractor.parameters(), *judge.parameters()], loss, 600)
        with torch.no_grad():
            spreads[type(extractor).__name__] = [
                spread(extractor((doubles(true, separation),), whole(72))) for separation in (7.0, 4.0)
            ]
    for turned, as_it_is in zip(spreads['RotatingSTRoIExtractor'], spreads['STRoIExtractor'], strict=True):
        assert turned < 0.3 * as_it_is


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_no_region(extractors, dtype):
    rotating, plain = extractors
    feats = doubles(circle(4)).to(dtype)
    assert rotating((feats,), whole(4)).dtype == dtype
    torch.testing.assert_close(rotating((feats,), whole(4)), plain((feats,), whole(4)))
    assert rotating((feats,), torch.zeros(0, 5)).shape == (0, 1, 7, 7)
    in_half = rotating.to(dtype)
    assert in_half((feats,), whole(4)).dtype == dtype
