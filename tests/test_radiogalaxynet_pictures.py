"""RadioGalaxyNET as a COCO data set of pictures: boxes lie on what is seen, and mmdet reads it."""

import json

import numpy as np
import pytest
from PIL import Image
from radiogalaxynet_files import write_radiogalaxynet

from claran_plugin.cli import main
from claran_plugin.datasets.radiogalaxynet import annotated_images
from claran_plugin.datasets.radiogalaxynet_pictures import make_pictures
from claran_plugin.errors import InputError


@pytest.fixture
def published(tmp_path):
    for part in ('train', 'val'):
        (tmp_path / 'published' / part).mkdir(parents=True)
        write_radiogalaxynet(tmp_path / 'published' / part)
    return tmp_path / 'published'


def test_boxes_lie_on_what_is_seen(published, tmp_path):
    assert make_pictures(published, tmp_path / 'out') == {'train': 1, 'val': 1}
    listing = json.loads((tmp_path / 'out' / 'val.json').read_text())
    (image,) = listing['images']
    (annotation,) = listing['annotations']
    assert (image['width'], image['height'], annotation['category_id']) == (300, 300, 2)
    assert annotation['bbox'] == pytest.approx([290 / 1.5, 140 / 1.5, 20 / 1.5, 20 / 1.5], abs=1e-3)
    picture = np.asarray(Image.open(tmp_path / 'out' / 'val' / image['file_name']))
    assert picture.shape == (300, 300, 3)
    middle = np.array([annotation['bbox'][0] + annotation['bbox'][2] / 2, annotation['bbox'][1] + 20 / 3])
    for channel, reach in ((0, 3), (2, 1.5)):  # radio, and the star of the infrared image
        y, x = np.unravel_index(np.argmax(picture[..., channel]), picture.shape[:2])
        np.testing.assert_allclose([x, y], middle, atol=reach)


def test_the_noise_follows_from_the_seed_and_the_part(published, tmp_path):
    def pictures(folder, **options):
        make_pictures(published, folder, **options)
        return [np.asarray(Image.open(folder / part / 'a.png')) for part in ('train', 'val')]

    first, again, other = (pictures(tmp_path / str(k), seed=seed) for k, seed in enumerate((1, 1, 2)))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()


def test_radio_alone(published, tmp_path, capsys):
    for part in ('train', 'val'):
        (published / part / 'infrared' / 'a.jpg').unlink()
    with pytest.raises(InputError, match=r'no infrared image of a\.png; restore it, or use the fusion S'):
        make_pictures(published, tmp_path / 'out')
    arguments = ['dataset', 'radiogalaxynet', str(published), '-o', str(tmp_path / 'radio'), '--fusion', 'S']
    assert main(arguments) == 0
    assert 'train: 1 pictures, val: 1 pictures' in capsys.readouterr().out
    assert main(arguments) == 1
    assert 'exists' in capsys.readouterr().err


def test_a_folder_without_parts(tmp_path):
    with pytest.raises(InputError, match=r'no part of RadioGalaxyNET here; expected train/annotations\.json'):
        make_pictures(tmp_path, tmp_path / 'out')


def test_one_iteration_of_training_and_its_score(published, tmp_path, require_detector):
    from mmengine.config import Config

    from claran_plugin.detection.runner import ClaranRunner
    from claran_plugin.models import find_config

    make_pictures(published, tmp_path / 'data')
    config = Config.fromfile(find_config('radiogalaxynet_compact'))
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.dataset.data_root = str(tmp_path / 'data')
        loader.num_workers, loader.persistent_workers = 0, False
    config.train_dataloader.batch_size = 1
    config.val_evaluator.ann_file = config.test_evaluator.ann_file = str(tmp_path / 'data' / 'val.json')
    config.train_cfg.update(max_iters=1, val_interval=1)
    config.default_hooks.pop('visualization')
    config.work_dir = str(tmp_path / 'work')
    runner = ClaranRunner.from_cfg(config)
    runner.train()
    assert {'coco/bbox_mAP_50', 'coco/FR-I_precision'} <= set(runner.message_hub.log_scalars) | {
        key.removeprefix('val/') for key in runner.message_hub.log_scalars
    }


def test_pictures_are_turned_as_their_draw_says(published, tmp_path, require_detector):
    from mmdet.registry import DATASETS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import claran_plugin.detection.training  # noqa: F401
    from claran_plugin.detection.samplers import Draw
    from claran_plugin.models import find_config

    make_pictures(published, tmp_path / 'out')
    init_default_scope('mmdet')
    config = Config.fromfile(find_config('radiogalaxynet_compact')).train_dataloader.dataset
    dataset = DATASETS.build(dict(config, data_root=str(tmp_path / 'out')))

    def picture(*seed):
        np.random.random(3)  # what was drawn before does not matter
        return dataset[Draw(0, seed)]['inputs'].numpy().tobytes()

    assert [picture(1, k) for k in range(10)] == [picture(1, k) for k in range(10)]
    assert len({picture(1, k) for k in range(30)}) == 8


def test_a_truncated_picture_is_named(published, tmp_path):
    path = next(published.rglob('radio/a.png'))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r'a\.png: missing, truncated or no picture'):
        next(annotated_images(path.parent.parent))
