"""Spatial-transformer RoI pooling against a plain bilinear crop, and its derivatives."""

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures('require_detector')

STRIDE = 4


@pytest.fixture
def make_extractor(require_detector):
    from claran_plugin.detection.st_roi_extractor import STRoIExtractor

    return lambda size=7, stride=STRIDE, channels=3: STRoIExtractor(channels, [stride], size)


def crop(feature_map, corners, size):
    """Sample a (C, H, W) map on a grid from corner to corner; pixel k has its centre at k + 1/2, borders go on."""
    channels, height, width = feature_map.shape
    x1, y1, x2, y2 = corners
    out = np.empty((channels, size, size))
    for i in range(size):
        for j in range(size):
            y = np.clip(y1 + (y2 - y1) * i / (size - 1) - 0.5, 0, height - 1)
            x = np.clip(x1 + (x2 - x1) * j / (size - 1) - 0.5, 0, width - 1)
            y0, x0 = min(int(y), height - 2), min(int(x), width - 2)
            fy, fx = y - y0, x - x0
            rows = feature_map[:, y0] * (1 - fy) + feature_map[:, y0 + 1] * fy
            out[:, i, j] = rows[:, x0] * (1 - fx) + rows[:, x0 + 1] * fx
    return out


def random_rois(rng, number, batch, height, width):
    """Draw regions, some of which reach beyond the map, of images in any order."""
    corner = rng.uniform(-0.2, 0.8, (number, 2)) * (width, height) * STRIDE
    side = rng.uniform(0.05, 0.7, (number, 2)) * (width, height) * STRIDE
    return np.column_stack([rng.integers(0, batch, number), corner, corner + side])


@pytest.mark.parametrize('size', [2, 7])
def test_equation_8_is_a_bilinear_crop(make_extractor, size):
    rng = np.random.default_rng(0)
    feats = rng.normal(size=(3, 4, 9, 13))
    rois = random_rois(rng, 25, 3, 9, 13)
    pooled = make_extractor(size)((torch.from_numpy(feats),), torch.from_numpy(rois))
    assert pooled.dtype == torch.float64
    expected = [crop(feats[int(roi[0])], roi[1:] / STRIDE, size) for roi in rois]
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=0, atol=1e-12)


def test_a_plane_is_read_where_the_region_is(make_extractor):
    # of a map whose values are the coordinates of the input, a region inside it gives its own grid
    extractor = make_extractor()
    y, x = np.mgrid[:20, :30] * STRIDE + STRIDE / 2
    feats = torch.from_numpy(np.stack([x, y])[None])
    pooled = extractor((feats,), torch.tensor([[0, 10.0, 20.0, 70.0, 62.0]], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(pooled[0], np.tile(np.linspace(10, 70, 7), (7, 1)))
    np.testing.assert_allclose(pooled[1], np.tile(np.linspace(20, 62, 7)[:, None], (1, 7)))


def test_the_whole_map_is_the_regular_grid(make_extractor):
    grid = make_extractor().sampling_grid(torch.tensor([[0.0, 0.0, 37.0, 37.0]]), 37, 37)
    line = torch.linspace(-1, 1, 7)
    torch.testing.assert_close(grid[0, ..., 0], line.expand(7, 7))
    torch.testing.assert_close(grid[0, ..., 1], line[:, None].expand(7, 7))


def test_derivatives(make_extractor):
    rng = np.random.default_rng(1)
    extractor = make_extractor(3)
    feats = torch.from_numpy(rng.normal(size=(2, 2, 5, 6))).requires_grad_()
    rois = torch.from_numpy(random_rois(rng, 5, 2, 5, 6))
    image, corners = rois[:, :1], rois[:, 1:].clone().requires_grad_()

    def pool(features, regions):
        return extractor((features,), torch.cat([image, regions], dim=1))

    assert torch.autograd.gradcheck(pool, (feats, corners), eps=1e-7, atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda regions: extractor.sampling_grid(regions, 5, 6), (corners,), eps=1e-7, atol=1e-6
    )


def test_each_corner_gets_a_gradient(make_extractor):
    rng = np.random.default_rng(2)
    feats = torch.from_numpy(rng.normal(size=(1, 3, 12, 12)).astype(np.float32)).requires_grad_()
    rois = torch.tensor([[0, 9.0, 5.0, 31.0, 37.0]], requires_grad=True)
    make_extractor()((feats,), rois).square().sum().backward()
    assert torch.all(rois.grad[0, 1:] != 0)
    assert torch.any(feats.grad != 0)


def test_a_batch_is_as_one_image_at_a_time(make_extractor):
    rng = np.random.default_rng(3)
    extractor = make_extractor()
    feats = torch.from_numpy(rng.normal(size=(4, 3, 11, 8)).astype(np.float32))
    rois = torch.from_numpy(random_rois(rng, 30, 4, 11, 8).astype(np.float32))
    rois = rois[rois[:, 0] != 2]  # an image without a region
    together = extractor((feats,), rois)
    for roi, pooled in zip(rois, together, strict=True):
        alone = extractor((feats[int(roi[0])][None],), torch.cat([torch.zeros(1), roi[1:]])[None])
        torch.testing.assert_close(pooled, alone[0])


def test_no_region(make_extractor):
    feats = torch.rand(2, 3, 8, 8, dtype=torch.float16)
    pooled = make_extractor()((feats,), torch.zeros(0, 5))
    assert pooled.shape == (0, 3, 7, 7)
    assert pooled.dtype == torch.float16


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_half_precision(make_extractor, dtype, tolerance):
    rng = np.random.default_rng(4)
    extractor = make_extractor()
    feats = torch.from_numpy(rng.uniform(0, 1, (2, 3, 33, 33)).astype(np.float32))
    rois = torch.from_numpy(random_rois(rng, 20, 2, 33, 33).astype(np.float32))
    pooled = extractor((feats.to(dtype),), rois)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), extractor((feats,), rois), rtol=0, atol=tolerance)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(extractor((feats,), rois), extractor((feats,), rois))


def test_regions_can_be_enlarged(make_extractor):
    extractor = make_extractor()
    feats = torch.rand(1, 3, 16, 16)
    enlarged = extractor((feats,), torch.tensor([[0, 20.0, 24.0, 30.0, 44.0]]), roi_scale_factor=2.0)
    torch.testing.assert_close(enlarged, extractor((feats,), torch.tensor([[0, 15.0, 14.0, 35.0, 54.0]])))


def test_one_feature_map_only(require_detector):
    from claran_plugin.detection.st_roi_extractor import STRoIExtractor

    with pytest.raises(ValueError, match=r'one feature map, got strides \[4, 8\]'):
        STRoIExtractor(3, [4, 8])


def test_all_regions_of_a_batch_are_read_at_once(make_extractor, monkeypatch):
    from claran_plugin.detection import st_roi_extractor

    calls = []
    read = st_roi_extractor.functional.grid_sample

    def count(*args, **kwargs):
        calls.append(args[0].shape)
        return read(*args, **kwargs)

    monkeypatch.setattr(st_roi_extractor.functional, 'grid_sample', count)
    rng = np.random.default_rng(5)
    feats = torch.rand(4, 3, 11, 8)
    rois = torch.from_numpy(random_rois(rng, 500, 4, 11, 8).astype(np.float32))
    assert len(make_extractor()((feats,), rois)) == 500
    assert calls == [feats.shape]


def test_gradients_in_half_precision(make_extractor):
    rng = np.random.default_rng(6)
    rois = torch.from_numpy(random_rois(rng, 20, 2, 12, 12).astype(np.float32))
    values, weights = torch.rand(2, 3, 12, 12), torch.rand(20, 3, 7, 7)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        feats, corners = values.to(dtype, copy=True).requires_grad_(), rois.clone().requires_grad_()
        (make_extractor()((feats,), corners).float() * weights).sum().backward()
        assert feats.grad.dtype == dtype
        gradients.append((feats.grad.float(), corners.grad))
    for exact, rounded in zip(*gradients, strict=True):
        torch.testing.assert_close(rounded, exact, rtol=0, atol=0.03 * float(exact.abs().max()))
