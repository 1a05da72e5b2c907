"""Short trainings: mmdet's tools, narrow models, and tiny data sets of both kinds."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from claran_plugin.datasets.packed_subjects import pack
from claran_plugin.datasets.training_data import simulated
from claran_plugin.morphology import CLASSES

CONFIGS = Path(__file__).resolve().parents[1] / 'mmdet_configs'
PARTS = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
ORIGINS = ('simulated', 'radiogalaxynet', 'first_fr', 'first', 'coarse')


def mmdet_tool(name):
    import mmdet

    return Path(mmdet.__file__).parent / '.mim' / 'tools' / name


def run(command, *, cwd, check=True):
    """Run a command on one thread; the modules of this folder can be imported in it."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=dict(
            os.environ,
            PYTHONPATH=path,
            PATH=scripts,
            PYTHONWARNINGS='ignore',
            OMP_NUM_THREADS='1',
            TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='1',  # OpenMMLab's original mmengine cannot load its checkpoints without
        ),
    )
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def run_tool(name, *arguments, cwd):
    """Run one of mmdet's tools and give what it prints."""
    return run([sys.executable, mmdet_tool(name), *arguments], cwd=cwd).stdout


def run_claran(*arguments, cwd, check=True):
    """Run the command line."""
    return run([sys.executable, '-m', 'claran_plugin', *arguments], cwd=cwd, check=check)


def scalars(folder):
    """Read what mmengine logged in all trainings of a work folder, in the order of time."""
    paths = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def losses(folder):
    """Give the losses of each iteration in a work folder's log; the last ones, where it was trained twice."""
    return {line['step']: [line[name] for name in PARTS] for line in scalars(folder) if 'loss' in line}


def narrow(config):
    """Make the layers of any of the project's configs narrow."""
    widths = (4, 4, 8, 8, 8)
    model = config.model
    model.backbone.update(widths=widths)
    if 'neck' in model:
        model.neck.update(in_channels=[widths[stage] for stage in model.backbone.out_stages], out_channels=8)
    model.rpn_head.update(in_channels=8, feat_channels=8)
    model.roi_head.bbox_roi_extractor.update(out_channels=8)
    head = model.roi_head.bbox_head
    head.update(in_channels=8, fc_out_channels=max(head.fc_out_channels // 64, 4))


def shorten(config, iterations, *, checkpoint=None, batch_size=2):
    """Make a training short, logged at every iteration, with what is logged not averaged, and without workers."""
    config.train_cfg.update(max_iters=iterations, val_interval=iterations)
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint.interval = checkpoint or iterations
    config.log_processor.window_size = 1
    for loader in LOADERS:
        config[loader].update(num_workers=0, persistent_workers=False)
        config[loader].batch_size = min(config[loader].batch_size, batch_size)


def put_data(config, packed, rgz):
    """Give a config's loaders the data set of their kind."""
    for loader in LOADERS:
        dataset = config[loader].dataset
        dataset.data_root = str(packed if dataset.type == 'PackedSubjects' else rgz)
        if 'tenths' in dataset:  # of so few there is none
            dataset.tenths = None


def pack_all_origins(folder, number=10):
    """Write a packed data set of simulated subjects, with infrared, that pretend to be of all origins."""
    subjects = list(simulated(number + 2, np.random.default_rng(0), infrared_rng=np.random.default_rng(1)))
    own = [subject._replace(origin='labelled', fold=k) for k, subject in enumerate(subjects[number:])]
    subjects = [subject._replace(origin=ORIGINS[k % len(ORIGINS)]) for k, subject in enumerate(subjects[:number])]
    pack([*subjects, *own], Path(folder))
    return Path(folder)


def write_rgz(folder, numbers=(('train', 3), ('test', 2))):
    """Write a data set as ``claran dataset rgz`` does: one source of two blobs in each field, with infrared."""
    folder = Path(folder)
    rng = np.random.default_rng(0)
    for split, number in numbers:
        images, annotations = [], []
        for k in range(number):
            name, ra, dec = f'{split}_{k}', 150.0 + k, 20.0
            _write_blobs(folder / f'{name}.fits', ra, dec, 1.8 / 3600, 1e-4, rng)
            _write_blobs(folder / f'{name}_w1.fits', ra, dec, 2.75 / 3600, 1.0, rng)
            place = dict(ra=ra, dec=dec)
            images.append(
                dict(place, id=k, file_name=f'{name}.fits', infrared=f'{name}_w1.fits', width=132, height=132)
                | dict(first_id=name)
            )
            annotations.append(
                dict(place, id=k, image_id=k, category_id=1 + k % 6, bbox=[46.0, 46.0, 40.0, 40.0], area=1600.0)
                | dict(iscrowd=0, ang_extent=40.0, consensus=1.0, n_components=1, n_peaks=1)
            )
        categories = [dict(id=k, name=name) for k, name in enumerate(CLASSES, 1)]
        info = dict(pixel_arcsec=1.375, means=dict(D3=[30.0, 20.0, 10.0]), split='published')
        content = dict(info=info, images=images, annotations=annotations, categories=categories)
        (folder / f'{split}.json').write_text(json.dumps(content))
    return folder


def _write_blobs(path, ra, dec, step_deg, rms, rng):
    """Write an image 5.5' wide: noise, and two round sources 24" apart in its middle."""
    n = int(330 / 3600 / step_deg)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (ra, dec), ((n + 1) / 2,) * 2, (-step_deg, step_deg)
    y, x = (np.indices((n, n)) - (n - 1) / 2) * step_deg * 3600
    image = rng.normal(0, rms, (n, n))
    for offset in (-12, 12):
        image += 200 * rms * np.exp(-((x - offset) ** 2 + y**2) / 2 / 4.0**2)
    fits.writeto(path, image.astype(np.float32), wcs.to_header())


def _make_hooks():
    from mmengine.dist import get_rank
    from mmengine.hooks import Hook

    class NoteSubjects(Hook):
        """Write what each process was given, and its weights in the end."""

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            numbers = [sample.metainfo['img_id'] for sample in data_batch['data_samples']]
            with open(Path(runner.work_dir) / f'subjects_{get_rank()}.txt', 'a') as file:
                file.write(''.join(f'{number}\n' for number in numbers))

        def after_train(self, runner):
            total = sum(float(p.double().abs().sum()) for p in runner.model.parameters())
            (Path(runner.work_dir) / f'weights_{get_rank()}.txt').write_text(repr(total))

    class Pause(Hook):
        """Stop after the sixth iteration, to be killed."""

        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter + 1 == 6:
                (Path(runner.work_dir) / 'paused').touch()
                time.sleep(600)

    return dict(NoteSubjects=NoteSubjects, Pause=Pause)


def __getattr__(name):
    """Give the hooks only when they are asked for, so that this module can be imported without mmengine."""
    if name in ('NoteSubjects', 'Pause'):
        return _make_hooks()[name]
    raise AttributeError(name)
