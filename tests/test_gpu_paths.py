"""What runs on a GPU, on one that is pretended: nothing strays to another device, and faults are told."""

import itertools

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('mmcv._ext')

import torch
from pretended_gpu import Pretended, PretendedMode, is_possible, pretended_gpus

from claran_plugin.detection import devices, inference, st_roi_extractor
from claran_plugin.detection.activation_ranges import example_pictures
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.models import config_folder, find_model

pytestmark = pytest.mark.skipif(not is_possible(), reason='this torch has no table of device guards')
BLANK = np.zeros((4, 132, 132, 3), np.uint8)


def detector(name='compact', device='auto', precision='auto'):
    found = find_model(name)
    return inference.Detector(found.config, found.weights, device, precision)


@pytest.mark.parametrize('name', ['compact', 'compact_infrared'])
@pytest.mark.parametrize('device', ['auto', 'auto:3', 'cuda', 'cuda:1'])
def test_a_gpu_sees_what_the_cpu_sees(name, device, monkeypatch):
    on_cpu = detector(name, 'cpu', 'full')
    pictures = list(itertools.islice(example_pictures(on_cpu.method, on_cpu.fusion_options), 5))
    expected = on_cpu(np.stack(pictures))
    look = inference.Detector.__call__

    def in_thread(self, batch):
        with PretendedMode():
            return look(self, batch)

    monkeypatch.setattr(inference.Detector, '__call__', in_thread)
    with pretended_gpus(2):
        on_gpu = detector(name, device, 'full')
        found = list(on_gpu.in_batches(pictures, 2))
        parameters = list(on_gpu.model.parameters())
    assert all(isinstance(one, Pretended) and not one.is_inference() for one in parameters)
    assert {one.device.index for one in parameters} == {1 if device in ('cuda:1', 'auto:3') else 0}
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.bboxes, other.bboxes, atol=1e-3)


def test_half_precision_is_that_of_every_layer():
    kinds = set()
    with pretended_gpus():
        on_gpu = detector()
        assert on_gpu.precision == 'float16'
        for module in on_gpu.model.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(lambda module, given, out: kinds.add(out.dtype))
        on_gpu(BLANK[:1])
    assert kinds == {torch.float16}


def test_single_precision_is_no_tf32(monkeypatch):
    seen = []
    with pretended_gpus():
        on_gpu = detector(precision='full')
        predict = on_gpu.model.predict

        def watched(*args, **options):
            seen.append(torch.backends.cudnn.allow_tf32)
            return predict(*args, **options)

        monkeypatch.setattr(on_gpu.model, 'predict', watched)
        before = torch.backends.cudnn.allow_tf32
        on_gpu(BLANK[:1])
        assert (seen, torch.backends.cudnn.allow_tf32) == ([False], before)


def test_a_larger_batch_takes_no_more_steps(monkeypatch):
    steps = []
    dispatch = Pretended.__torch_dispatch__.__func__

    def counted(cls, func, *args):
        steps.append(func.name())
        return dispatch(cls, func, *args)

    monkeypatch.setattr(Pretended, '__torch_dispatch__', classmethod(counted))
    counts = []
    with pretended_gpus():
        on_gpu = detector()
        pictures = np.stack(list(itertools.islice(example_pictures(on_gpu.method, on_gpu.fusion_options), 9)))
        on_gpu(pictures[:1])
        for size in (3, 9):
            steps.clear()
            on_gpu(pictures[:size])
            counts.append(len(steps))
    assert 0 < counts[1] <= counts[0]


def test_a_tensor_that_strays_is_caught(monkeypatch):
    def astray(group, n):
        order = torch.argsort(group, stable=True)
        rank = torch.empty_like(group)
        rank[order] = torch.arange(len(group)) - torch.zeros_like(group)
        return rank

    monkeypatch.setattr(st_roi_extractor, 'rank_within_group', astray)
    with pretended_gpus():
        on_gpu = detector()
        with pytest.raises(AssertionError, match='on the CPU'):
            on_gpu(BLANK[:1])


@pytest.mark.parametrize('name', ['claran_compact', 'claran_d1_vgg16_rotation', 'claran_d2_vgg16_learned'])
def test_losses(name):
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.structures import InstanceData

    import claran_plugin.detection.training  # noqa: F401

    init_default_scope('mmdet')
    config = Config.fromfile(config_folder() / f'{name}.py')
    side = 132 if 'compact' in name else 300
    if 'vgg16' in name:
        config.model.roi_head.bbox_head.fc_out_channels = 64
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    middle = torch.rand(2, 3, 2) * side * 0.6 + side * 0.2
    half = side * 0.1
    samples = []
    for boxes in torch.cat([middle - half, middle + half], dim=-1):
        info = dict(img_shape=(side, side), ori_shape=(side, side), pad_shape=(side, side), scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo=info | dict(batch_input_shape=(side, side))))
        samples[-1].gt_instances = InstanceData(bboxes=HorizontalBoxes(boxes), labels=torch.tensor([0, 2, 5]))
        samples[-1].ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    pictures = [torch.randint(0, 255, (3, side, side), dtype=torch.uint8) for _ in samples]
    for half_precision in (False, True):
        with pretended_gpus():
            model.to('cuda').train()
            data = model.data_preprocessor(dict(inputs=pictures, data_samples=samples), True)
            with torch.autocast('cuda', dtype=torch.float16, enabled=half_precision):
                total, _ = model.parse_losses(model(**data, mode='loss'))
        assert total.device.type == 'cuda'
        assert np.isfinite(float(total.inside.detach()))


# ---- faults


def test_without_operators_auto_is_the_cpu():
    with pretended_gpus(operators=False):
        with pytest.warns(InputWarning, match='there is a GPU, but mmcv has no operators for CUDA'):
            assert devices.choose_device('auto').type == 'cpu'
        with pytest.raises(InputError, match=r'cuda: mmcv has no operators for CUDA; build mmcv .* --device cpu'):
            devices.choose_device('cuda')


def test_too_little_memory_is_shared_out_or_told(monkeypatch):
    sizes = []
    with pretended_gpus():
        on_gpu = detector()
        look = on_gpu._look

        def small(pictures, most=1):
            sizes.append(len(pictures))
            if len(pictures) > most:
                raise torch.OutOfMemoryError('CUDA out of memory.')
            return look(pictures)

        monkeypatch.setattr(on_gpu, '_look', small)
        monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: None)
        assert len(on_gpu(BLANK)) == 4
        assert sizes == [4, 2, 1, 1, 2, 1, 1]
        monkeypatch.setattr(on_gpu, '_look', lambda pictures: small(pictures, 0))
        with pytest.raises(InputError, match=r'cuda:0: too little memory is free .* --workers'):
            on_gpu(BLANK)


def test_a_gpu_that_does_not_work_is_told(monkeypatch):
    def broken(pictures):
        raise RuntimeError('CUDA error: no kernel image is available for execution on the device')

    with pretended_gpus():
        on_gpu = detector()
        monkeypatch.setattr(on_gpu, '_look', broken)
        with pytest.raises(InputError, match=r'cuda:0: cannot be used .*no kernel image.* give --device cpu'):
            on_gpu(BLANK)
    on_cpu = detector(device='cpu')
    monkeypatch.setattr(on_cpu, '_look', broken)
    with pytest.raises(RuntimeError, match='no kernel image'):
        on_cpu(BLANK)


def test_processes_and_gpus_are_compared(monkeypatch):
    from claran_plugin.detection.runner import _check_gpus

    monkeypatch.setenv('LOCAL_RANK', '2')
    _check_gpus()  # no GPU: gloo
    with pretended_gpus(3):
        _check_gpus()
    with pretended_gpus(2), pytest.raises(InputError, match=r'3 processes or more, but 2 GPUs: start fewer'):
        _check_gpus()
    with pretended_gpus(operators=False), pytest.raises(InputError, match='mmcv has no operators for CUDA'):
        _check_gpus()


def test_the_workers_of_a_machine_share_its_gpus(monkeypatch):
    from types import SimpleNamespace

    import distributed

    from claran_plugin.survey import work

    assert work._worker_number() == 0
    for name, number in ((3, 3), ('slurm-0-2', 2), ('worker', 0)):
        monkeypatch.setattr(distributed, 'get_worker', lambda name=name: SimpleNamespace(name=name))
        assert work._worker_number() == number
    with pretended_gpus(2):
        assert devices.choose_device('auto:3').index == 1
