"""Every config: that it builds, and that its effective values are those intended."""

import inspect
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
NAMES = sorted(path.stem for path in FOLDER.glob('claran_*.py'))
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


def dataset_of(config, loader):
    dataset = config[loader].dataset
    while 'pipeline' not in dataset:
        dataset = dataset.dataset
    return dataset


def pipeline(config, loader):
    """Give the steps of a loader's pipeline by their names."""
    return {step.type: step for step in dataset_of(config, loader).pipeline}


def fusion(config, loader):
    """Give the fusion and its options: of a packed set they stand in the pipeline, of an RGZ set in the data set."""
    steps = pipeline(config, loader)
    if 'FuseSubject' in steps:
        return steps['FuseSubject'].get('method', 'S'), {}
    assert 'LoadSubject' in steps
    dataset = dataset_of(config, loader)
    return dataset.fusion, dict(dataset.get('fusion_options') or {})


def field_of_view(config, loader):
    """Give the side of the field of view in its own pixels; `LoadSubject` cuts no other than the published one."""
    step = pipeline(config, loader).get('CutSubject', {})
    return step.get('size', FIELD_PIXELS)


def input_size(config, loader='test_dataloader'):
    steps = pipeline(config, loader)
    if 'Resize' not in steps:
        return field_of_view(config, loader)
    width, height = steps['Resize'].scale
    assert width == height
    return width


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
    assert config.custom_imports.imports == ['claran_plugin.detection', 'claran_plugin.detection.training']
    assert config.custom_imports.allow_failed_imports is False
    assert config.default_scope == 'mmdet'


def test_the_same_fusion_everywhere(name, config):
    (method, options), *others = [fusion(config, loader) for loader in LOADERS]
    assert others == [(method, options)] * 2
    assert method in FUSIONS
    named = re.search(r'_(f|d[1-4])(?:_|$)', name)
    assert method == (named.group(1).upper() if named else 'SI' if name.endswith('_infrared') else 'S')
    named = re.search(r'_(\d)sigma(?:_|$)', name)
    assert options == (dict(sigma=float(named.group(1))) if named else {})


def test_the_fusion_takes_its_options(config):
    method, options = fusion(config, 'train_dataloader')
    assert set(options) <= set(inspect.signature(FUSIONS[method]).parameters)


def test_the_same_field_of_view_and_size_everywhere(config):
    assert {field_of_view(config, loader) for loader in LOADERS} == {FIELD_PIXELS}
    assert len({input_size(config, loader) for loader in LOADERS}) == 1


def test_only_training_is_random(config):
    for loader in LOADERS[1:]:
        steps = pipeline(config, loader)
        assert not any(steps.get('CutSubject', {}).get(option) for option in ('shift', 'zoom', 'turn')), loader
        assert 'RandomFlip' not in steps
        assert dataset_of(config, loader).test_mode


def test_judged_on_other_subjects_than_trained_on(config):
    """Other files or, of one packed set, other origins or other tenths."""
    train, *others = [
        [dataset_of(config, loader).get(key) for key in ('ann_file', 'origins', 'tenths')] for loader in LOADERS
    ]
    for other in others:
        assert train != other


def test_the_metric_gets_what_it_needs(config):
    for loader in LOADERS[1:]:
        assert 'scale_factor' in pipeline(config, loader)['PackDetInputs'].meta_keys, loader


@pytest.mark.parametrize('name', [*NAMES, 'radiogalaxynet_compact', 'packed_rtmdet_s'])
def test_the_rate_is_for_the_batch_size(config):
    # what --auto-scale-lr scales from: as it is, a config has its own rate
    assert config.auto_scale_lr.base_batch_size == config.train_dataloader.batch_size


def test_six_classes(config):
    model = build(config)
    assert model.roi_head.bbox_head.num_classes == len(CLASSES)
    assert model.roi_head.bbox_head.fc_cls.out_features == len(CLASSES) + 1
    assert model.roi_head.bbox_head.fc_reg.out_features == 4 * len(CLASSES)


def test_proposals_are_pooled_by_the_head_that_keeps_them_in_the_graph(config):
    assert (config.model.rpn_head.type, config.model.roi_head.type) == ('ClaranRPNHead', 'ClaranRoIHead')


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


@pytest.mark.parametrize('name', ['packed_rtmdet_s'])
def test_another_detector_takes_packed_subjects(config):
    import numpy as np
    from mmdet.registry import MODELS, TRANSFORMS
    from mmengine.dataset import pseudo_collate

    torch.manual_seed(0)
    config.model.test_cfg.update(score_thr=0.0, min_bbox_size=-1)  # random weights are sure of nothing
    model = MODELS.build(config.model)
    subject = dict(
        wide_snr=np.random.default_rng(0).normal(size=(200, 200)),
        img_id=0,
        img_path='0.png',
        gt_bboxes=np.array([[80.0, 85.0, 120.0, 125.0]]),
        gt_bboxes_labels=np.array([4]),
        gt_ignore_flags=np.zeros(1, bool),
    )
    assert [fusion(config, loader) for loader in LOADERS] == [('S', {})] * 3
    for loader, mode in (('train_dataloader', 'loss'), ('test_dataloader', 'predict')):
        results = dict(subject)
        for step in dataset_of(config, loader).pipeline:
            results = TRANSFORMS.build(step)(results)
        assert results['inputs'].shape == (3, 256, 256)
        batch = model.data_preprocessor(pseudo_collate([results, results]), training=mode == 'loss')
        model.train(mode == 'loss')
        found = model(**batch, mode=mode)
        if mode == 'loss':
            assert all(torch.isfinite(torch.as_tensor(part)).all() for value in found.values() for part in value)
        else:
            assert all(len(sample.pred_instances) for sample in found)
            assert all(sample.pred_instances.labels.max() < len(CLASSES) for sample in found)
            # the truth is in pixels of the field of view once the scale is divided out
            truth = found[0].gt_instances.bboxes / found[0].scale_factor[0]
            torch.testing.assert_close(truth, torch.tensor([[46.5, 51.5, 86.5, 91.5]]))
