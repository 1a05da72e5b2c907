"""The published model a few channels wide: everything as configured, but fast."""

from pathlib import Path

import torch

CONFIGS = Path(__file__).resolve().parents[1] / 'mmdet_configs'


def read_config(name):
    """Read a config of the project, with its classes registered."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import claran_plugin.detection  # noqa: F401

    init_default_scope('mmdet')
    return Config.fromfile(CONFIGS / f'{name}.py')


def narrow_config(name='claran_d1_vgg16', width=16, dense=32):
    """Read a config of the published model and make its layers narrow."""
    config = read_config(name)
    model = config.model
    model.backbone.update(widths=(4, 4, 8, 8, width), init_cfg=dict(type='Kaiming', layer='Conv2d'))
    model.rpn_head.update(in_channels=width, feat_channels=width)
    model.roi_head.bbox_roi_extractor.update(out_channels=width)
    model.roi_head.bbox_head.update(in_channels=width, fc_out_channels=dense)
    return config


def build(config, seed=0):
    """Build a model with initial weights."""
    from mmdet.registry import MODELS

    torch.manual_seed(seed)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def make_batch(model, boxes, labels, size=600, seed=0):
    """Make pictures (noise, with a bright square for each box) and their truth, as the data preprocessor gives them.

    `boxes` and `labels` are lists, one entry per picture: (n, 4) and (n,).
    """
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(seed)
    pictures, samples = [], []
    for own_boxes, own_labels in zip(boxes, labels, strict=True):
        picture = torch.randint(0, 60, (3, size, size), generator=generator)
        for label, (x1, y1, x2, y2) in zip(own_labels, own_boxes, strict=True):
            picture[label % 3, int(y1) : int(y2), int(x1) : int(x2)] += 150
        sample = DetDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(own_boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(own_labels, dtype=torch.long),
        )
        pictures.append(picture.to(torch.uint8))
        samples.append(sample)
    data = model.data_preprocessor(dict(inputs=pictures, data_samples=samples), True)
    return data['inputs'], data['data_samples']


def total(losses):
    """Add up the losses (Eq. 11), and nothing else that mmdet reports with them."""
    return sum(sum(value) if isinstance(value, list) else value for name, value in losses.items() if 'loss' in name)
