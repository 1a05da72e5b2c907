"""ImageNet weights from torchvision's file and from the original one, both made here with random numbers."""

import io
import os
import pickle

import numpy as np
import pytest
import torch
from narrow_model import build, narrow_config
from torch import nn
from torch.nn import functional

from claran_plugin.errors import InputError

pytestmark = pytest.mark.usefixtures('require_detector')

WIDTHS = (4, 4, 8, 8, 16)
DEPTHS = (2, 2, 3, 3, 3)
FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Places of the convolutions in torchvision's ``vgg16.features`` (configuration D)."""
DENSE = 32
MEANS = np.array([123.68, 116.779, 103.939])
TORCHVISION_STD = np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope='module')
def layers():
    """Draw a narrow VGG-16: {name: (weight, bias)} in PyTorch's layout, for pictures of red, green, blue."""
    rng = np.random.default_rng(0)
    made, channels = {}, 3
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), 1):
        for k in range(1, depth + 1):
            weight = rng.normal(0, (2 / (9 * channels)) ** 0.5, (width, channels, 3, 3))
            made[f'conv{stage}_{k}'] = weight.astype('f4'), rng.normal(0, 0.1, width).astype('f4')
            channels = width
    for name, before in (('fc6', channels * 49), ('fc7', DENSE)):
        made[name] = rng.normal(0, 0.05, (DENSE, before)).astype('f4'), rng.normal(0, 0.1, DENSE).astype('f4')
    return made


def torchvision_state(layers):
    names = [f'features.{place}' for place in FEATURES] + ['classifier.0', 'classifier.3']
    return {
        f'{name}.{what}': torch.from_numpy(array)
        for name, layer in zip(names, layers.values(), strict=True)
        for what, array in zip(('weight', 'bias'), layer, strict=True)
    }


def caffe_content(layers):
    """Height, width, in, out; in, out; the first layer's input blue, green, red."""
    content = {}
    for name, (weight, bias) in layers.items():
        if name == 'conv1_1':
            weight = weight[:, ::-1]
        order = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
        content[name] = dict(weights=np.ascontiguousarray(weight.transpose(order)), biases=bias)
    return content


@pytest.fixture(params=['torchvision', 'caffe'])
def layout(request):
    return request.param


@pytest.fixture
def weights_file(layout, layers, tmp_path):
    if layout == 'torchvision':
        path = tmp_path / 'vgg16.pth'
        torch.save(torchvision_state(layers), path)
    else:
        path = tmp_path / 'VGG_imagenet.npy'
        np.save(path, caffe_content(layers), allow_pickle=True)
    return path


def make_model(path, name='claran_d1_vgg16', **options):
    config = narrow_config(name, WIDTHS[-1], DENSE)
    config.merge_from_dict({'model.init_cfg.type': 'ImageNetVGG16', 'model.init_cfg.checkpoint': str(path)})
    config.merge_from_dict({f'model.init_cfg.{name}': value for name, value in options.items()})
    return build(config)


def run_original(layers, picture):
    """Run the convolutions on a picture as its trainers prepared it; the map of each layer."""
    values, maps = torch.from_numpy(picture[None].astype('f4')), {}
    for stage, depth in enumerate(DEPTHS, 1):
        values = functional.max_pool2d(values, 2) if stage > 1 else values
        for k in range(1, depth + 1):
            weight, bias = (torch.from_numpy(array) for array in layers[f'conv{stage}_{k}'])
            values = functional.conv2d(values, weight, bias, padding=1).relu()
            maps[f'conv{stage}_{k}'] = values
    return maps


def test_all_maps_are_the_original_network_s(layout, layers, weights_file):
    model = make_model(weights_file).eval()
    raw = np.random.default_rng(1).integers(0, 256, (3, 64, 48)).astype(float)  # red, green, blue
    centred = raw - MEANS[:, None, None]
    # torchvision's weights were trained on 0 ... 1, divided by its standard deviations; Caffe's on 0 ... 255
    original = centred / 255 / TORCHVISION_STD[:, None, None] if layout == 'torchvision' else centred
    expected = run_original(layers, original)
    found, names = {}, iter(expected)
    values = torch.from_numpy(centred[None].astype('f4'))
    with torch.no_grad():
        for stage in model.backbone.stages:
            for layer in stage:
                values = layer(values)
                if isinstance(layer, nn.ReLU):
                    found[next(names)] = values
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)


def test_dense_layers_only_when_asked_for(layers, weights_file):
    """Section 4.2: layers 1 to 17."""
    paper, everything = (make_model(weights_file, dense=dense) for dense in (False, True))
    pooled = torch.rand(2, WIDTHS[-1], 7, 7)
    for name, place in (('fc6', 0), ('fc7', 1)):
        weight, bias = (torch.from_numpy(array) for array in layers[name])
        assert not torch.equal(paper.roi_head.bbox_head.shared_fcs[place].weight, weight)
        torch.testing.assert_close(everything.roi_head.bbox_head.shared_fcs[place].bias, bias)
    # flattened as channel, row, column
    expected = np.einsum('oi,ri->ro', layers['fc6'][0], pooled.reshape(2, -1).numpy()) + layers['fc6'][1]
    found = everything.roi_head.bbox_head.shared_fcs[0](pooled.flatten(1))
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-4)


def test_the_rest_is_initialised_as_without(weights_file):
    with_weights, without = make_model(weights_file), build(narrow_config('claran_d1_vgg16', WIDTHS[-1], DENSE))
    for name in ('rpn_head', 'roi_head'):
        for key, value in getattr(with_weights, name).state_dict().items():
            torch.testing.assert_close(value, getattr(without, name).state_dict()[key], rtol=0, atol=0, msg=key)


def test_learned_fusion_keeps_passing_the_picture_through(weights_file):
    model = make_model(weights_file, 'claran_d2_vgg16_learned')
    picture = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(model.backbone.fusion(picture), picture)


def test_another_scale_of_the_input_is_folded_in(layers, weights_file):
    config = narrow_config('claran_d1_vgg16', WIDTHS[-1], DENSE)
    config.model.data_preprocessor.std = [64.0, 32.0, 16.0]
    config.model.init_cfg = dict(type='ImageNetVGG16', checkpoint=str(weights_file))
    ratio = build(config).backbone.stages[0][0].weight / make_model(weights_file).backbone.stages[0][0].weight
    torch.testing.assert_close(ratio.mean((0, 2, 3)), torch.tensor([64.0, 32.0, 16.0]))


def python_2_file(content, path):
    """Write what `numpy.save` of Python 2 and numpy 1 would have: old names of modules, byte strings."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(None), allow_pickle=True)
    header_end = buffer.getvalue().index(b'\n') + 1
    array = np.empty((), object)
    array[()] = content
    pickled = pickle.dumps(array, 2).replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    path.write_bytes(buffer.getvalue()[:header_end] + pickled)


def test_files_of_old_versions(layers, tmp_path):
    path = tmp_path / 'VGG_imagenet.npy'
    python_2_file(caffe_content(layers), path)
    assert b'numpy.core.multiarray' in path.read_bytes()
    model = make_model(path)
    torch.testing.assert_close(model.backbone.stages[4][1].weight, torch.from_numpy(layers['conv5_1'][0]))


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('suffix', ['.npy', '.pth'])
def test_code_in_a_file_is_not_run(layers, tmp_path, suffix):
    path, trace = tmp_path / f'weights{suffix}', tmp_path / 'trace'
    content = dict(caffe_content(layers), more=Harmful(trace))
    if suffix == '.npy':
        np.save(path, content, allow_pickle=True)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=rf'{path.name}: not a readable'):
        make_model(path)
    assert not trace.exists()


def test_a_missing_layer_is_named(layout, layers, tmp_path):
    fewer = {name: layer for name, layer in layers.items() if name != 'conv3_2'}
    if layout == 'torchvision':
        path = tmp_path / 'w.pth'
        state = torchvision_state(layers)
        del state['features.12.weight']
        torch.save(state, path)
    else:
        path = tmp_path / 'w.npy'
        np.save(path, caffe_content(fewer), allow_pickle=True)
    with pytest.raises(InputError, match=r'w\.(pth|npy): has no .*conv3_2'):
        make_model(path)


def test_a_layer_that_does_not_fit_is_named(layout, layers, tmp_path):
    wrong = dict(layers, conv4_1=(np.zeros((9, 8, 3, 3), 'f4'), np.zeros(9, 'f4')))
    path = tmp_path / ('w.pth' if layout == 'torchvision' else 'w.npy')
    if layout == 'torchvision':
        torch.save(torchvision_state(wrong), path)
    else:
        np.save(path, caffe_content(wrong), allow_pickle=True)
    with pytest.raises(InputError, match=r'weight of conv4_1 has the shape \(9, 8, 3, 3\), the network has \(8, 8,'):
        make_model(path)


def test_dense_layers_that_do_not_fit(layers, weights_file):
    config = narrow_config('claran_d4_vgg16_fc64', WIDTHS[-1], 8)
    config.model.init_cfg = dict(type='ImageNetVGG16', checkpoint=str(weights_file), dense=True)
    with pytest.raises(InputError, match=r'weight of fc6 has the shape \(32, 784\).*leave out dense=True'):
        build(config)


def test_batch_normalisation_has_no_place_for_the_biases(weights_file):
    config = narrow_config('claran_d1_vgg16', WIDTHS[-1], DENSE)
    config.model.backbone.norm = True
    config.model.init_cfg = dict(type='ImageNetVGG16', checkpoint=str(weights_file))
    with pytest.raises(InputError, match=r'bias of conv1_1 .* the network has none; .*without batch normalisation'):
        build(config)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('none.pth', None, 'no such file'),
        ('bad.pth', b'not a file of weights', 'not a readable PyTorch file'),
        ('bad.npy', b'not an array', 'not a readable .npy file'),
        ('array.npy', np.zeros(3), r'an array of float64 \(3,\), not a dictionary'),
        ('list.npy', [1, 2], 'not a dictionary'),
        ('empty.npy', {}, 'no weights and biases of the layer conv1_1'),
        ('flat.npy', {'conv1_1': dict(weights=np.zeros(3), biases=np.zeros(3))}, 'expected 4 axes'),
    ],
)
def test_what_is_no_file_of_weights(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, list):
        array = np.empty((), object)
        array[()] = content
        np.save(path, array, allow_pickle=True)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(InputError, match=message) as raised:
        make_model(path)
    assert str(raised.value).startswith(str(path))
    assert '\n' not in str(raised.value)


def test_given_to_mmdet_s_training_tool(tmp_path):
    from narrow_model import read_config
    from training_runs import narrow, put_data, run_tool, shorten, write_rgz

    config = read_config('claran_d1_vgg16')
    narrow(config)
    shorten(config, 1)
    (tmp_path / 'rgz').mkdir()
    put_data(config, None, write_rgz(tmp_path / 'rgz'))
    config.dump(tmp_path / 'short.py')
    rng = np.random.default_rng(0)
    model = build(config)
    content = {}
    for number, stage in enumerate(model.backbone.stages, 1):
        convolutions = [layer for layer in stage if isinstance(layer, nn.Conv2d)]
        for k, layer in enumerate(convolutions, 1):
            shape = layer.weight.permute(2, 3, 1, 0).shape
            content[f'conv{number}_{k}'] = dict(
                weights=rng.normal(0, 0.1, shape).astype('f4'), biases=np.zeros(shape[3], 'f4')
            )
    np.save(tmp_path / 'VGG_imagenet.npy', content, allow_pickle=True)
    options = ['model.init_cfg.type=ImageNetVGG16', f'model.init_cfg.checkpoint={tmp_path / "VGG_imagenet.npy"}']
    work = tmp_path / 'work'
    run_tool('train.py', tmp_path / 'short.py', '--work-dir', work, '--cfg-options', *options, cwd=tmp_path)
    state = torch.load(work / 'iter_1.pth', map_location='cpu', weights_only=False)['state_dict']
    # frozen, so still what was read, after the training too
    expected = torch.from_numpy(content['conv2_1']['weights']).permute(3, 2, 0, 1)
    torch.testing.assert_close(state['backbone.stages.1.1.weight'], expected, rtol=0, atol=0)
