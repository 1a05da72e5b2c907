"""The configs of the published network: effective values (Wu et al. 2019, Sections 4 and 5), and the variants."""

import numpy as np
import pytest
import torch
from narrow_model import CONFIGS, build, narrow_config, read_config
from torch import nn

pytestmark = pytest.mark.usefixtures('require_detector')

NAMES = sorted(path.stem for path in CONFIGS.glob('*vgg16*.py'))
METHODS = [f'claran_{method}_vgg16' for method in ('f', 'd1', 'd2', 'd3', 'd4')]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(params=NAMES)
def config(request, require_detector):
    return read_config(request.param)


def differences(a, b, path=''):
    """Give the places where two configs differ."""
    if hasattr(a, 'keys') and hasattr(b, 'keys'):
        found = set()
        for key in {*a.keys(), *b.keys()}:
            inside = f'{path}.{key}'.lstrip('.')
            found |= differences(a.get(key), b.get(key), inside) if key in a and key in b else {inside}
        return found
    return set() if a == b else {path}


def test_all_five_methods_are_there():
    assert set(METHODS) <= set(NAMES)


@pytest.mark.parametrize('name', METHODS)
def test_methods_differ_in_the_fusion_only(name):
    expected = set() if name == 'claran_d1_vgg16' else {f'{loader}.dataset.fusion' for loader in LOADERS}
    assert differences(read_config('claran_d1_vgg16'), read_config(name)) == expected


@pytest.mark.parametrize(
    ('name', 'base', 'expected'),
    [
        ('claran_d1_vgg16_unfrozen', 'claran_d1_vgg16', {'model.backbone.frozen_stages'}),
        ('claran_d1_vgg16_layer_rates', 'claran_d1_vgg16_unfrozen', {'optim_wrapper.paramwise_cfg'}),
        ('claran_d1_vgg16_rotation', 'claran_d1_vgg16', {'model.roi_head.bbox_roi_extractor.type'}),
        ('claran_d2_vgg16_learned', 'claran_d2_vgg16', {'model.backbone.fusion'}),
        ('claran_d4_vgg16_fc256', 'claran_d4_vgg16', {'model.roi_head.bbox_head.fc_out_channels'}),
        ('claran_d4_vgg16_fc64', 'claran_d4_vgg16', {'model.roi_head.bbox_head.fc_out_channels'}),
        ('claran_d4_vgg16_4sigma', 'claran_d4_vgg16', {f'{loader}.dataset.fusion_options' for loader in LOADERS}),
    ],
)
def test_variants_differ_in_one_thing(name, base, expected):
    assert differences(read_config(base), read_config(name)) == expected


def test_every_variant_is_tested_for_what_it_changes():
    (mark,) = [m for m in test_variants_differ_in_one_thing.pytestmark if m.name == 'parametrize']
    assert {*METHODS, *(name for name, _, _ in mark.args[1])} == set(NAMES)


def test_input(config):
    # Section 4.1: 600 px, zero-centred, flipped horizontally in training
    for loader in LOADERS:
        steps = {step.type: step for step in config[loader].dataset.pipeline}
        assert tuple(steps['Resize'].scale) == (600, 600)
        assert ('RandomFlip' in steps) == (loader == 'train_dataloader')
        assert config[loader].batch_size == 1
        assert config[loader].dataset.type == 'RGZSubjects'
    flip = next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomFlip')
    assert (flip.prob, flip.get('direction', 'horizontal')) == (0.5, 'horizontal')
    preprocessor = config.model.data_preprocessor
    assert preprocessor.mean == [123.68, 116.779, 103.939]
    assert preprocessor.std == [1, 1, 1]
    assert not preprocessor.bgr_to_rgb


def test_channels_are_red_green_blue():
    """The means are given in the order of the pictures' channels; D4's background is red in the paper's Figure 4."""
    from claran_plugin.fusion import FUSIONS

    picture = FUSIONS['D4'](np.zeros((20, 20), 'f4'), np.zeros((20, 20), 'f4'), rms=1.0)
    red, green, blue = picture[0, 0]
    assert red > green > blue


def published_anchors(config):
    from mmdet.registry import TASK_UTILS

    generator = TASK_UTILS.build(config.model.rpn_head.anchor_generator)
    return generator.grid_priors([(37, 37)], device='cpu')[0]


def test_anchors(config):
    boxes = published_anchors(config)
    assert len(boxes) == 6 * 37**2 == 8_214
    assert sorted(set((boxes[:, 2] - boxes[:, 0]).tolist())) == [16, 32, 64, 128, 256, 512]
    # in pixels counted from their centres, as the original's: centres at 16 i + 7.5
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5).unique().numpy()
    np.testing.assert_array_equal(centres, 16 * np.arange(37) + 7.5)


def test_anchors_inside(config):
    """Eq. 6: |A'| = 5241 have all their pixels, 16 i + 8 - 8 s to 16 i + 7 + 8 s, inside 0 to 599."""
    from mmdet.models.task_modules.prior_generators import anchor_inside_flags

    boxes = published_anchors(config)
    border = config.model.train_cfg.rpn.allowed_border
    flags = anchor_inside_flags(boxes, torch.ones(len(boxes), dtype=torch.bool), (600, 600), border)
    expected = 0
    for scale in (1, 2, 4, 8, 16, 32):
        steps = [i for i in range(37) if 16 * i + 8 - 8 * scale >= 0 and 16 * i + 7 + 8 * scale < 600]
        expected += len(steps) ** 2
    assert int(flags.sum()) == expected == 5_241
    assert boxes[flags].min() >= 0
    assert boxes[flags].max() <= 600


def test_proposal_network(config):
    # Section 4.3
    head, train = config.model.rpn_head, config.model.train_cfg
    assert head.detach_proposals is False
    assert (train.rpn.assigner.pos_iou_thr, train.rpn.assigner.neg_iou_thr) == (0.7, 0.3)
    assert train.rpn.assigner.match_low_quality
    assert train.rpn.assigner.min_pos_iou <= 0.01
    assert (train.rpn.sampler.num, train.rpn.sampler.pos_fraction) == (256, 0.5)
    assert (train.rpn_proposal.max_per_img, config.model.test_cfg.rpn.max_per_img) == (2000, 5)
    for stage in (train.rpn_proposal, config.model.test_cfg.rpn):
        assert (stage.nms_pre, stage.nms.iou_threshold) == (6000, 0.7)
        assert stage.min_bbox_size * 132 / 600 == pytest.approx(4)  # pixels of the subject
    assert head.loss_bbox.beta == pytest.approx(1 / 9)
    assert head.loss_bbox.loss_weight == pytest.approx(256 / 5241)


def test_recognition_network(config):
    # Sections 4.3.2 and 4.4
    stage, head = config.model.train_cfg.rcnn, config.model.roi_head.bbox_head
    assert (stage.assigner.pos_iou_thr, tuple(stage.assigner.neg_iou_thr)) == (0.5, (0.1, 0.5))
    assert (stage.sampler.num, stage.sampler.pos_fraction) == (128, 0.25)
    assert head.dropout == 0.5
    assert head.bbox_coder.target_stds == [0.1, 0.1, 0.2, 0.2]
    assert config.model.test_cfg.rcnn.nms.iou_threshold == 0.3


def test_schedule(config):
    # Section 5: momentum, rate 0.001, a tenth of it every 50,000 iterations, 80,000 in all; Eq. 11: no other penalty
    optimiser = config.optim_wrapper.optimizer
    assert (optimiser.type, optimiser.lr, optimiser.momentum, optimiser.weight_decay) == ('SGD', 0.001, 0.9, 0)
    assert config.train_cfg.max_iters == 80_000
    (scheduler,) = config.param_scheduler
    assert (scheduler.milestones, scheduler.gamma, scheduler.by_epoch) == ([50_000], 0.1, False)


@pytest.mark.parametrize(
    ('name', 'rates'),
    [
        ('claran_d1_vgg16', [None, None, 0.001, 0.001, 0.001]),
        ('claran_d1_vgg16_unfrozen', [0.001] * 5),
        ('claran_d1_vgg16_layer_rates', [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]),
    ],
)
def test_rates_of_the_layers(name, rates):
    """What the optimiser that mmengine builds does to each layer; None where it is frozen."""
    from mmengine.optim import build_optim_wrapper

    config = narrow_config(name)
    model = build(config)
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    found = {id(parameter): group['lr'] for group in groups for parameter in group['params'] if parameter.requires_grad}
    for stage, rate in enumerate(rates):
        parameters = list(model.backbone.stages[stage].parameters())
        assert parameters
        assert [found.get(id(p)) for p in parameters] == pytest.approx([rate] * len(parameters))
    others = [*model.rpn_head.parameters(), *model.roi_head.parameters()]
    assert {found[id(p)] for p in others} == {0.001}
    assert {group['weight_decay'] for group in groups} == {0}


def test_first_weights():
    """Section 4.1 and the authors' code: Gaussians of 0.01, 0.001 for the boxes, cut off at twice that; no biases."""
    model = build(narrow_config(width=64, dense=64))
    head = model.roi_head.bbox_head
    layers = {**{n: m for n, m in model.rpn_head.named_modules() if isinstance(m, nn.Conv2d)},
              **{n: m for n, m in head.named_modules() if isinstance(m, nn.Linear)}}  # fmt: skip
    assert set(layers) == {'rpn_conv', 'rpn_cls', 'rpn_reg', 'shared_fcs.0', 'shared_fcs.1', 'fc_cls', 'fc_reg'}
    for name, layer in layers.items():
        scale = 0.001 if name == 'fc_reg' else 0.01
        assert float(layer.weight.abs().max()) <= 2 * scale * (1 + 1e-6), name
        # a Gaussian cut off at two standard deviations has 0.88 of its spread left
        assert float(layer.weight.std()) == pytest.approx(0.88 * scale, rel=0.1), name
        assert not layer.bias.any(), name


def test_dropout_is_for_training_only():
    from claran_plugin.detection import ClaranBBoxHead

    torch.manual_seed(0)
    head = ClaranBBoxHead(in_channels=4, roi_feat_size=7, fc_out_channels=2000, num_classes=6, dropout=0.5)
    pooled = torch.rand(3, 4, 7, 7)
    kept = []
    head.shared_fcs[1].register_forward_hook(lambda module, inputs, output: kept.append(inputs[0]))
    head.fc_cls.register_forward_hook(lambda module, inputs, output: kept.append(inputs[0]))
    head.eval()
    head(pooled)
    assert torch.equal(head(pooled)[0], head(pooled)[0])
    exact = kept[0]
    kept.clear()
    head.train()
    head(pooled)
    positive = exact > 0
    share = float((kept[0][positive] > 0).float().mean())
    assert share == pytest.approx(0.5, abs=0.05)
    # what is kept is doubled, so that the expectation stays
    left = positive & (kept[0] > 0)
    torch.testing.assert_close(kept[0][left], 2 * exact[left])
    assert float((kept[1] == 0).float().mean()) > 0.6  # half of the half that the rectifier lets through


def test_weights_have_the_names_of_mmdet_s_own_head():
    from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead

    from claran_plugin.detection import ClaranBBoxHead

    options = dict(in_channels=4, fc_out_channels=8, num_classes=6)
    ours, theirs = ClaranBBoxHead(**options).eval(), Shared2FCBBoxHead(**options).eval()
    ours.load_state_dict(theirs.state_dict())
    pooled = torch.rand(3, 4, 7, 7)
    for a, b in zip(ours(pooled), theirs(pooled), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize(('name', 'millions'), [('claran_d4_vgg16_fc256', 23), ('claran_d4_vgg16_fc64', 18)])
def test_smaller_capacity(name, millions):
    # Section 5.7
    from mmdet.registry import MODELS

    with torch.device('meta'):
        model = MODELS.build(read_config(name).model)
    assert sum(parameter.numel() for parameter in model.parameters()) // 1_000_000 == millions


def test_learned_fusion_is_trained_before_frozen_layers():
    from narrow_model import make_batch, total

    model = build(narrow_config('claran_d2_vgg16_learned')).train()
    batch = make_batch(model, [[[96.0, 110.0, 254.0, 261.0]]], [[2]])
    picture = batch[0]
    torch.testing.assert_close(model.backbone.fusion(picture), picture)
    total(model.loss(*batch)).backward()
    gradient = model.backbone.fusion.mix.weight.grad
    assert gradient.shape == (3, 3, 1, 1)
    assert torch.all(gradient != 0)
    assert all(p.grad is None for stage in model.backbone.stages[:2] for p in stage.parameters())


def test_learned_fusion_mixes_each_pixel_by_itself():
    from claran_plugin.detection import LearnedFusion

    torch.manual_seed(0)
    mixture = LearnedFusion(in_channels=2)
    nn.init.normal_(mixture.mix.weight)
    planes = torch.rand(2, 2, 5, 4)
    weights = mixture.mix.weight.detach()[:, :, 0, 0]
    torch.testing.assert_close(mixture(planes).detach(), torch.einsum('oc,bcyx->boyx', weights, planes))
