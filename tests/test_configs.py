"""Every config: that it builds, and that its effective values are those intended."""

import re
from pathlib import Path

import pytest
import torch

from claran_plugin.fusion import FUSIONS
from claran_plugin.models import config_folder
from claran_plugin.morphology import CLASSES
from claran_plugin.subjects import FIELD_PIXELS

pytestmark = pytest.mark.usefixtures('require_detector')

FOLDER = Path(__file__).resolve().parents[1] / 'mmdet_configs'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py') if path.stem != '__init__')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def config(name, require_detector):
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    return Config.fromfile(FOLDER / f'{name}.py')


def pipeline(config, loader):
    """Give the steps of a loader's pipeline by their names."""
    dataset = config[loader].dataset
    while 'pipeline' not in dataset:
        dataset = dataset.dataset
    return {step.type: step for step in dataset.pipeline}


def input_size(config, loader='test_dataloader'):
    steps = pipeline(config, loader)
    return steps['Resize'].scale[0] if 'Resize' in steps else steps['CutSubject'].get('size', FIELD_PIXELS)


def build(config):
    """Build the model without memory for its weights."""
    from mmdet.registry import MODELS

    with torch.device('meta'):
        return MODELS.build(config.model)


def test_there_is_the_default():
    assert 'claran_compact' in NAMES


def test_installed_as_part_of_the_package(name):
    assert (config_folder() / f'{name}.py').read_bytes() == (FOLDER / f'{name}.py').read_bytes()


def test_registers_the_plugin_s_classes(config):
    assert config.custom_imports.imports == ['claran_plugin.detection']
    assert config.custom_imports.allow_failed_imports is False
    assert config.default_scope == 'mmdet'


def test_the_same_fusion_everywhere(name, config):
    methods = {pipeline(config, loader)['FuseSubject'].get('method', 'S') for loader in LOADERS}
    assert len(methods) == 1
    (method,) = methods
    assert method in FUSIONS
    named = re.search(r'_(f|d[1-4])(?:_|$)', name)
    assert method == (named.group(1).upper() if named else 'S')


def test_the_same_field_of_view_and_size_everywhere(config):
    assert {pipeline(config, loader)['CutSubject'].get('size', FIELD_PIXELS) for loader in LOADERS} == {FIELD_PIXELS}
    assert len({input_size(config, loader) for loader in LOADERS}) == 1


def test_only_training_is_random(config):
    for loader in LOADERS[1:]:
        step = pipeline(config, loader)['CutSubject']
        assert not any(step.get(option) for option in ('shift', 'zoom', 'turn')), loader
        assert 'RandomFlip' not in pipeline(config, loader)
        assert config[loader].dataset.test_mode


def test_the_metric_gets_what_it_needs(config):
    for loader in LOADERS[1:]:
        assert 'scale_factor' in pipeline(config, loader)['PackDetInputs'].meta_keys, loader


def test_six_classes(config):
    model = build(config)
    assert model.roi_head.bbox_head.num_classes == len(CLASSES)
    assert model.roi_head.bbox_head.fc_cls.out_features == len(CLASSES) + 1
    assert model.roi_head.bbox_head.fc_reg.out_features == 4 * len(CLASSES)


def test_spatial_transformer_pooling_of_7_by_7(config):
    from claran_plugin.detection import STRoIExtractor

    model = build(config)
    extractor = model.roi_head.bbox_roi_extractor
    assert isinstance(extractor, STRoIExtractor)
    assert extractor.output_size == 7
    assert model.roi_head.bbox_head.shared_fcs[0].in_features == extractor.out_channels * 7 * 7


def test_strides_are_those_of_the_map(config):
    # the same layout, a channel wide, run in earnest
    from mmdet.registry import MODELS

    settings = config.model.copy()
    backbone = MODELS.build(dict(settings.backbone, widths=(1,) * 5, init_cfg=None)).eval()
    size = input_size(config)
    maps = backbone(torch.rand(1, 3, size, size))
    stride = size // maps[0].shape[-1]
    model = build(config)
    assert model.rpn_head.prior_generator.strides == [(stride, stride)]
    assert model.roi_head.bbox_roi_extractor.featmap_strides == [stride]


def anchors(config):
    """Give all anchors of one input, (n, 4)."""
    from mmdet.registry import TASK_UTILS

    generator = TASK_UTILS.build(config.model.rpn_head.anchor_generator)
    side = input_size(config) // generator.strides[0][0]
    return generator.grid_priors([(side, side)], device='cpu')[0]


def test_anchors_are_squares_over_the_whole_field(config):
    boxes = anchors(config)
    size = input_size(config)
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
    torch.testing.assert_close(widths, heights)
    # from about a beam, of the field's 33, to nearly all of it
    assert float(widths.min()) / size < 0.04
    assert float(widths.max()) / size > 0.8
    assert float(boxes[:, :2].add(boxes[:, 2:]).max() / 2) > 0.9 * size


def published_configs():
    return [name for name in NAMES if 'vgg16' in name] or ['_base_/models/claran_vgg16']


@pytest.mark.parametrize('path', published_configs())
def test_published_anchors(path):
    from mmdet.registry import TASK_UTILS
    from mmengine.config import Config

    config = Config.fromfile(FOLDER / f'{path}.py')
    generator = TASK_UTILS.build(config.model.rpn_head.anchor_generator)
    boxes = generator.grid_priors([(37, 37)], device='cpu')[0]
    assert len(boxes) == 8_214
    assert sorted(set((boxes[:, 2] - boxes[:, 0]).tolist())) == [16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize('path', published_configs())
def test_published_hyperparameters(path):
    # Wu et al. 2019, Sections 4.3 and 4.4
    from mmengine.config import Config

    model = Config.fromfile(FOLDER / f'{path}.py').model
    proposals = model.train_cfg.rpn
    assert (proposals.assigner.pos_iou_thr, proposals.assigner.neg_iou_thr) == (0.7, 0.3)
    assert (proposals.sampler.num, proposals.sampler.pos_fraction) == (256, 0.5)
    assert proposals.allowed_border == 0
    regions = model.train_cfg.rcnn
    assert (regions.assigner.pos_iou_thr, tuple(regions.assigner.neg_iou_thr)) == (0.5, (0.1, 0.5))
    assert (regions.sampler.num, regions.sampler.pos_fraction) == (128, 0.25)
    assert model.train_cfg.rpn_proposal.max_per_img == 2000
    assert model.test_cfg.rpn.max_per_img == 5
    for stage in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        assert (stage.nms.iou_threshold, stage.min_bbox_size) == (0.7, 4)
    assert model.test_cfg.rpn.nms_pre == 6000
    assert model.backbone.frozen_stages == 2


def test_published_schedule():
    # Section 5: momentum, rate 0.001, a tenth of it every 50,000 iterations, 80,000 in all
    from mmengine.config import Config

    schedule = Config.fromfile(FOLDER / '_base_' / 'schedules' / 'published.py')
    assert (schedule.optim_wrapper.optimizer.type, schedule.optim_wrapper.optimizer.lr) == ('SGD', 0.001)
    assert schedule.optim_wrapper.optimizer.momentum == 0.9
    assert schedule.train_cfg.max_iters == 80_000
    assert (schedule.param_scheduler[0].milestones, schedule.param_scheduler[0].gamma) == ([50_000], 0.1)
