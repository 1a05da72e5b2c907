"""Radio Galaxy Zoo subjects in mmdet's pipelines: pictures, boxes, and the detections that are written."""

import json
import subprocess
import sys

import numpy as np
import pytest
from rgz_files import SUBJECTS, write_folders

from claran_plugin.cli import main
from claran_plugin.datasets.radio_fields import fuse, fusion_keywords, read_field
from claran_plugin.fusion import FUSIONS
from claran_plugin.models import config_folder
from claran_plugin.morphology import CLASSES

pytestmark = pytest.mark.usefixtures('require_detector')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp('rgz')
    path, radio, infrared = write_folders(out)
    command = ['dataset', 'rgz', path, '--images', radio, '--infrared', infrared, '-o', out / 'set', '--quiet']
    assert main([str(word) for word in command]) == 0
    return out / 'set'


@pytest.fixture
def build(require_detector, folder):
    from mmdet.registry import DATASETS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import claran_plugin.detection  # noqa: F401

    init_default_scope('mmdet')

    def build(loader='test_dataloader', name='claran_compact_rgz', **options):
        config = Config.fromfile(config_folder() / f'{name}.py')
        return DATASETS.build(dict(config[loader].dataset, data_root=str(folder), **options))

    return build


def subject_of(entry):
    return next(subject for subject in SUBJECTS if subject.name == entry['first_id'])


def true_picture(entry, method, means=None, **keywords):
    field = read_field(entry['img_path'], subject_of(entry).position, entry['infrared'])
    return fuse(field, method, **fusion_keywords(method, means, keywords))


@pytest.mark.parametrize('method', FUSIONS)
def test_pictures_are_the_fusion_s(build, folder, method):
    means = json.loads((folder / 'train.json').read_text())['info']['means']
    dataset = build(fusion=method, cache=None)
    for index in range(len(dataset)):
        entry = dataset.get_data_info(index)
        assert (entry['fusion'], entry['means']) == (method, means)
        picture = dataset[index]['inputs'].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(picture, true_picture(entry, method, means))


def test_pictures_can_be_written_under_their_names(build):
    dataset = build()
    for index in range(len(dataset)):  # by mmdet's browse_dataset.py, whose library takes the ending for the format
        name = dataset.get_data_info(index)['first_id']
        assert dataset[index]['data_samples'].img_path == f'{name}.png'


def test_all_sets(build):
    train, test = build('train_dataloader'), build('test_dataloader')
    assert train.metainfo['classes'] == test.metainfo['classes'] == CLASSES
    for dataset, training in ((train, True), (test, False)):
        names = {dataset.get_data_info(index)['first_id'] for index in range(len(dataset))}
        assert names == {subject.name for subject in SUBJECTS if subject.training is training}


def test_mmdet_draws_each_class_in_its_colour(build):
    from mmdet.visualization import get_palette

    from claran_plugin.detection.rgz_subjects import COLOURS

    assert get_palette(build().metainfo['palette'], len(CLASSES)) == list(COLOURS)


def test_options_reach_the_fusion(build):
    dataset = build(fusion='D3', fusion_options=dict(sigma=30.0), cache=None)
    entry = dataset.get_data_info(0)
    picture = dataset[0]['inputs'].numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(picture, true_picture(entry, 'D3', sigma=30.0))
    assert not np.array_equal(picture, true_picture(entry, 'D3'))


def test_subjects_without_infrared_are_left_out_where_it_is_needed(build):
    assert len(build(fusion='S')) == 2
    assert len(build(fusion='D4')) == 1


def test_faults(build, folder, tmp_path):
    with pytest.raises(ValueError, match="fusion 'D7': unknown"):
        build(fusion='D7')
    with pytest.raises(FileNotFoundError, match='claran dataset rgz CATALOGUE --images FOLDER'):
        build(ann_file='none.json')
    coco = json.loads((folder / 'test.json').read_text())
    for image in coco['images']:
        image['infrared'] = None
    (folder / 'blind.json').write_text(json.dumps(coco))
    with pytest.raises(ValueError, match='no subject has an infrared image, which fusion D2 needs'):
        build(ann_file='blind.json', fusion='D2')
    (folder / 'empty.json').write_text(json.dumps(dict(coco, images=[], annotations=[])))
    with pytest.raises(ValueError, match='has no subjects, as none of this half'):
        build(ann_file='empty.json')


def test_classes_follow_from_their_names(build, folder):
    def labels(**options):
        dataset = build(**options)
        infos = map(dataset.get_data_info, range(len(dataset)))
        return {info['first_id']: [one['bbox_label'] for one in info['instances']] for info in infos}

    coco = json.loads((folder / 'test.json').read_text())
    expected = labels(ann_file='test.json')
    (folder / 'other.json').write_text(json.dumps(dict(coco, categories=coco['categories'][::-1])))
    assert labels(ann_file='other.json') == expected
    for categories in (coco['categories'][1:], [dict(coco['categories'][0], name='triple'), *coco['categories'][1:]]):
        (folder / 'other.json').write_text(json.dumps(dict(coco, categories=categories)))
        with pytest.raises(ValueError, match=r'has the categories .*, expected .*, in any order'):
            build(ann_file='other.json')
    (folder / 'other.json').write_text(json.dumps(dict(coco, images=[*coco['images'], coco['images'][0]])))
    with pytest.raises(ValueError, match='several images have the id'):
        build(ann_file='other.json')
    bare = [{key: value for key, value in image.items() if key != 'ra'} for image in coco['images']]
    (folder / 'other.json').write_text(json.dumps(dict(coco, images=bare)))
    with pytest.raises(ValueError, match='has no ra, see docs'):
        build(ann_file='other.json')


def test_the_cache_lies_beside_the_data(build, folder):
    first = build()[0]['inputs']
    stored = list((folder / 'fused').rglob('*.npz'))
    assert stored
    np.testing.assert_array_equal(build()[0]['inputs'], first)
    assert list((folder / 'fused').rglob('*.npz')) == stored


def islands(entry):
    """Find the box of what is bright in the plain field, by another way than the data set's: its pixels' bounds."""
    snr = read_field(entry['img_path'], subject_of(entry).position).radio
    y, x = np.nonzero(snr > 30)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


@pytest.mark.parametrize('flip', [False, True])
def test_boxes_follow_the_pixels_at_600_px(build, flip):
    from mmengine.config import Config

    base = Config.fromfile(config_folder() / '_base_' / 'datasets' / 'rgz_subjects.py')
    pipeline = base.train_pipeline
    assert pipeline[3] == dict(type='RandomFlip', prob=0.5)
    pipeline[3].prob = float(flip)
    dataset = build('train_dataloader', pipeline=pipeline)
    (index,) = [i for i in range(len(dataset)) if dataset.get_data_info(i)['first_id'] == SUBJECTS[2].name]
    item = dataset[index]
    assert item['inputs'].shape == (3, 600, 600)
    (box,) = item['data_samples'].gt_instances.bboxes.tensor.numpy()
    x1, y1, x2, y2 = np.array(islands(dataset.get_data_info(index))) * 600 / 132
    if flip:
        x1, x2 = 600 - x2, 600 - x1
    assert (box[:2] + box[2:]) / 2 == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2], abs=6)
    assert x1 > box[0]
    assert box[2] > x2
    assert item['data_samples'].gt_instances.labels.tolist() == [CLASSES.index('3C_3P')]


def test_base_config():
    from mmengine.config import Config

    base = Config.fromfile(config_folder() / '_base_' / 'datasets' / 'rgz_subjects.py')
    assert base.data_root == 'data/rgz'
    assert base.train_dataloader.batch_size == 1
    for loader, name in (('train', 'train.json'), ('val', 'test.json'), ('test', 'test.json')):
        dataset = base[f'{loader}_dataloader'].dataset
        assert (dataset.type, dataset.ann_file, dataset.fusion) == ('RGZSubjects', name, 'D1')
        steps = {step.type: step for step in dataset.pipeline}
        assert steps['Resize'].scale == (600, 600)
        assert ('RandomFlip' in steps) is (loader == 'train')
    assert base.val_evaluator.type == base.test_evaluator.type == 'MorphologyAP'


def test_a_child_config_changes_the_fusion(tmp_path):
    from mmengine.config import Config

    child = tmp_path / 'child.py'
    lines = [f"_base_ = ['{config_folder()}/_base_/datasets/rgz_subjects.py']"]
    lines += [f"{kind}_dataloader = dict(dataset=dict(fusion='D3'))" for kind in ('train', 'val', 'test')]
    child.write_text('\n'.join(lines))
    config = Config.fromfile(child)
    assert {config[f'{kind}_dataloader'].dataset.fusion for kind in ('train', 'val', 'test')} == {'D3'}


# ---- what is written of the detections


def perfect(dataset, shift=0.0):
    """Make detections, in pixels of the field of view, that are the truth."""
    import torch
    from mmengine.structures import InstanceData

    samples = []
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor
        scale = torch.tensor(sample.scale_factor).repeat(2)
        sample.pred_instances = InstanceData(
            bboxes=sample.gt_instances.bboxes / scale + shift,
            labels=sample.gt_instances.labels,
            scores=torch.full((len(sample.gt_instances),), 0.75),
        )
        samples.append(sample)
    return samples


@pytest.mark.parametrize('size', [132, 600])
def test_detections_are_written_in_the_field_s_pixels(build, folder, tmp_path, size):
    from mmdet.registry import METRICS
    from mmengine.config import Config

    base = Config.fromfile(config_folder() / '_base_' / 'datasets' / 'rgz_subjects.py')
    options = dict(pipeline=base.test_pipeline) if size == 600 else {}
    dataset = build(ann_file='train.json', **options)
    metric = METRICS.build(dict(type='MorphologyAP', outfile_prefix=str(tmp_path / 'new' / 'found')))
    metric.dataset_meta = dataset.metainfo
    samples = perfect(dataset)
    metric.process({}, [sample.to_dict() for sample in samples])
    assert metric.evaluate(len(samples))['claran/mAP6'] == pytest.approx(1.0)
    found = json.loads((tmp_path / 'new' / 'found.bbox.json').read_text())
    truth = json.loads((folder / 'train.json').read_text())['annotations']
    key = ('image_id', 'category_id')
    assert [[f[k] for k in key] for f in found] == [[t[k] for k in key] for t in truth]
    np.testing.assert_allclose([f['bbox'] for f in found], [t['bbox'] for t in truth], atol=2e-3)
    assert {f['score'] for f in found} == {0.75}


def test_pycocotools_reads_the_files(folder, build, tmp_path):
    coco_api = pytest.importorskip('pycocotools.coco')
    from mmdet.registry import METRICS

    dataset = build(ann_file='train.json')
    metric = METRICS.build(dict(type='MorphologyAP', outfile_prefix=str(tmp_path / 'found')))
    metric.dataset_meta = dataset.metainfo
    samples = perfect(dataset)
    metric.process({}, [sample.to_dict() for sample in samples])
    metric.evaluate(len(samples))
    coco = coco_api.COCO(str(folder / 'train.json'))
    found = coco.loadRes(str(tmp_path / 'found.bbox.json'))
    assert len(found.anns) == len(coco.anns) == 4


# ---- training


CHILD = """
_base_ = ['{base}']
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(data_root={data!r}))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root={data!r}))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
val_evaluator = dict(outfile_prefix={out!r})
"""


@pytest.mark.slow
def test_mmdet_s_tool_trains_on_it(folder, tmp_path):
    from pathlib import Path

    import mmdet

    config = tmp_path / 'child.py'
    base = config_folder() / 'claran_compact_rgz.py'
    config.write_text(CHILD.format(base=base, data=str(folder), out=str(tmp_path / 'found')))
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(tool), str(config), '--work-dir', str(tmp_path / 'work')],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'claran/mAP6' in done.stdout
    assert isinstance(json.loads((tmp_path / 'found.bbox.json').read_text()), list)
