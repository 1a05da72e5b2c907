"""The published network's size layer by layer, and what the variants of VGG change."""

from pathlib import Path

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures('require_detector')

CONFIGS = Path(__file__).resolve().parents[1] / 'mmdet_configs'
# Wu et al. 2019, Table 4, last column: weights of the convolutions without their biases
CONVOLUTIONS = {
    'Conv1': [1_728, 36_864],
    'Conv2': [73_728, 147_456],
    'Conv3': [294_912, 589_824, 589_824],
    'Conv4': [1_179_648, 2_359_296, 2_359_296],
    'Conv5': [2_359_296, 2_359_296, 2_359_296],
}
LOCALISATION = {'rpn_conv': 2_359_296, 'rpn_cls': 6_144, 'rpn_reg': 12_288}
RECOGNITION = {'shared_fcs.0': 102_764_544, 'shared_fcs.1': 16_781_312, 'fc_cls': 28_679}
ALL = 136_777_443
BACKGROUND_BOX = 4096 * 4 + 4
"""mmdet predicts no box of the background."""


@pytest.fixture
def vgg(require_detector):
    from claran_plugin.detection.vgg import ClaranVGG

    return ClaranVGG


def build(name):
    """Build a model without memory for its weights."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(CONFIGS / '_base_' / 'models' / f'{name}.py').model)


@pytest.fixture(scope='module')
def published(require_detector):
    return build('claran_vgg16')


def table_4(module):
    """Count as Table 4 does: of convolutions the weights only, of dense layers weights and biases."""
    if isinstance(module, nn.Conv2d):
        return module.weight.numel()
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_layers(published):
    found = [[table_4(layer) for layer in stage if isinstance(layer, nn.Conv2d)] for stage in published.backbone.stages]
    assert found == list(CONVOLUTIONS.values())
    for name, expected in LOCALISATION.items():
        assert table_4(published.rpn_head.get_submodule(name)) == expected, name
    head = published.roi_head.bbox_head
    for name, expected in RECOGNITION.items():
        assert table_4(head.get_submodule(name)) == expected, name
    assert table_4(head.fc_reg) == 114_716 - BACKGROUND_BOX


def test_published_total(published):
    biases = sum(m.bias.numel() for m in published.modules() if isinstance(m, nn.Conv2d))
    total = sum(parameter.numel() for parameter in published.parameters())
    assert total - biases == ALL - BACKGROUND_BOX


def test_published_map_is_37_pixels_wide(vgg):
    maps = vgg(widths=(1, 1, 1, 1, 2))(torch.rand(1, 3, 600, 600))
    assert [tuple(m.shape) for m in maps] == [(1, 2, 37, 37)]


def receptive_fields(layers):
    """Give r_k of Eq. 2 for layers of (filter width, stride)."""
    fields, field, step = [], 1, 1
    for width, stride in layers:
        field += (width - 1) * step
        step *= stride
        fields.append(field)
    return fields


def test_published_receptive_field(published):
    """Eq. 2 gives 196 px for Conv5_3 and the 228 px of Section 4.2 for the proposal network's convolution after it."""
    layers = [layer for stage in published.backbone.stages for layer in stage if not isinstance(layer, nn.ReLU)]
    sizes = [
        (layer.kernel_size, layer.stride)
        if isinstance(layer, nn.MaxPool2d)
        else (layer.kernel_size[0], layer.stride[0])
        for layer in (*layers, published.rpn_head.rpn_conv)
    ]
    fields = receptive_fields(sizes)
    assert len(fields) == 18
    assert fields[16] == 196
    assert fields[17] == 228
    # the paper's other figures are those of the following layer too: of layers 1, 2, 4, 5 (5, 6, 14, 16 px) and 7 (32)
    assert [fields[k - 1] for k in (1, 2, 4, 5, 7)] == [3, 5, 10, 14, 24]
    assert [fields[k] for k in (1, 2, 4, 5, 7)] == [5, 6, 14, 16, 32]


def test_receptive_field_is_what_a_pixel_of_the_map_sees(vgg):
    torch.manual_seed(0)
    network = vgg(widths=(2, 2, 2, 2, 2))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 0.1)
    picture = torch.rand(1, 3, 256, 256, requires_grad=True)
    network(picture)[0][0, 0, 8, 8].backward()
    rows = torch.nonzero(picture.grad.abs().sum((0, 1, 3))).flatten()
    # the maximum of a pooling hands the gradient to one pixel of two, so a little less than Eq. 2 is seen
    assert 0.9 * 196 < rows[-1] - rows[0] + 1 <= 196


def test_published_freezes_its_first_four_layers(published):
    frozen = [name for name, parameter in published.named_parameters() if not parameter.requires_grad]
    assert {name.split('.')[2] for name in frozen} == {'0', '1'}
    weights = sum(p.numel() for name, p in published.named_parameters() if name in frozen and name.endswith('weight'))
    assert weights == sum(CONVOLUTIONS['Conv1'] + CONVOLUTIONS['Conv2'])


def test_frozen_stages_stay_as_they_are(vgg):
    network = vgg(widths=(4, 4, 4, 4, 4), norm=True, frozen_stages=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    optimiser = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.1)
    network(torch.rand(2, 3, 32, 32))[0].square().sum().backward()
    optimiser.step()
    for name, parameter in network.named_parameters():
        frozen = name.startswith(('stages.0.', 'stages.1.'))
        assert (parameter.grad is None) == frozen, name
    for name, value in network.state_dict().items():
        if name.startswith(('stages.0.', 'stages.1.')):
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)  # the running averages too
    assert any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_maps_are_halved_from_stage_to_stage(vgg):
    network = vgg(widths=(2, 3, 4, 5, 6), out_stages=(0, 1, 2, 3, 4))
    shapes = [tuple(m.shape) for m in network(torch.rand(2, 3, 64, 96))]
    assert shapes == [(2, 2 + k, 64 >> k, 96 >> k) for k in range(5)]


def test_without_the_first_pooling_maps_are_twice_as_fine(vgg):
    options = dict(widths=(2, 2, 2, 2, 2), out_stages=(0, 1, 2, 3, 4))
    with_it, without = (vgg(**options, first_pooling=flag)(torch.rand(1, 3, 48, 48)) for flag in (True, False))
    assert [m.shape[-1] for m in with_it] == [48, 24, 12, 6, 3]
    assert [m.shape[-1] for m in without] == [48, 48, 24, 12, 6]


def test_normalised_convolutions_have_no_bias(vgg):
    convolutions = [m for m in vgg(norm=True, widths=(2,) * 5).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    assert all(m.bias is None for m in convolutions)


def test_training_in_bfloat16_gives_float32_maps(vgg):
    torch.manual_seed(0)
    network = vgg(widths=(8, 8, 8, 8, 8), train_in_bfloat16=True, out_stages=(3, 4))
    picture = torch.rand(2, 3, 64, 64)
    network.train()
    rounded = network(picture)
    network.eval()
    exact = network(picture)
    for a, b in zip(rounded, exact, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=0, atol=0.05 * float(b.detach().abs().max()))
    rounded[-1].sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


def test_the_compact_model_is_small():
    assert sum(parameter.numel() for parameter in build('claran_compact').parameters()) < 3.5e6


def test_merging_puts_all_on_the_finest_grid(require_detector):
    from claran_plugin.detection.merge_levels import MergeLevels

    torch.manual_seed(0)
    neck = MergeLevels([2, 3], 4).eval()
    fine, coarse = torch.rand(1, 2, 12, 10), torch.ones(1, 3, 6, 5)
    (merged,) = neck((fine, coarse))
    assert merged.shape == (1, 4, 12, 10)
    # a constant coarse map adds the same everywhere before the normalisation
    convolution = neck.mix[0]
    expected = torch.einsum('oc,bchw->bohw', convolution.weight[:, :2, 0, 0], fine)
    expected = expected + convolution.weight[:, 2:, 0, 0].sum(1)[:, None, None]
    torch.testing.assert_close(merged, torch.relu(expected / (1 + neck.mix[1].eps) ** 0.5))


def test_places_are_mixed_in_and_weights_without_them_do_not_see_them(require_detector):
    import torch

    from claran_plugin.detection.merge_levels import MergeLevels

    torch.manual_seed(1)
    plain, placed = MergeLevels([2, 3], 4).eval(), MergeLevels([2, 3], 4, places=True).eval()
    maps = torch.randn(2, 2, 9, 9), torch.randn(2, 3, 5, 5)
    placed.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(placed(maps)[0], plain(maps)[0])
        placed.mix[0].weight[:, 5:] = torch.eye(4, 3)[..., None, None]
        (told,) = placed((torch.zeros(1, 2, 9, 9), torch.zeros(1, 3, 5, 5)))
    scale = told[0, 0, 4, 8]  # of batch normalisation
    assert told.shape == (1, 4, 9, 9)
    for channel, at, value in ((0, (2, 8), 1), (0, (2, 4), 0), (1, (8, 3), 1), (1, (6, 0), 0.5), (2, (4, 4), 1)):
        assert told[0, channel][at] == pytest.approx(value * scale)
    assert told[0, 2, 0, 4] < 1e-3 * scale
