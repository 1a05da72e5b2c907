# A modern detector on the bundled model's training set: RTMDet-s (Lyu et al. 2022), mmdet's, from random weights, with
# the pictures of the compact network magnified to 256 px (its maps want multiples of 32). One stage, no regions:
# for comparison, it cannot be given to ``claran run``.
_base_ = ['./_base_/datasets/packed_subjects.py', './_base_/schedules/compact.py', './_base_/runtime.py']
custom_imports = dict(
    imports=['claran_plugin.detection', 'claran_plugin.detection.training'], allow_failed_imports=False
)

max_iters = 5500
norm = dict(type='BN')
act = dict(type='SiLU', inplace=True)
model = dict(
    type='RTMDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[64.0, 64.0, 64.0], std=[64.0, 64.0, 64.0], bgr_to_rgb=False
    ),
    backbone=dict(
        type='CSPNeXt',
        arch='P5',
        expand_ratio=0.5,
        deepen_factor=0.33,
        widen_factor=0.5,
        channel_attention=True,
        norm_cfg=norm,
        act_cfg=act,
    ),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=[128, 256, 512],
        out_channels=128,
        num_csp_blocks=1,
        expand_ratio=0.5,
        norm_cfg=norm,
        act_cfg=act,
    ),
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=6,
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=False,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=norm,
        act_cfg=act,
    ),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13), allowed_border=-1, pos_weight=-1, debug=False
    ),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.001, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100
    ),
)

resize = dict(type='Resize', scale=(256, 256), keep_ratio=False)
pack = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
train_pipeline = [
    dict(type='CutSubject', size=132, shift=16, zoom=0.1, turn=True),
    dict(type='FuseSubject', method='S'),
    resize,
    pack,
]
test_pipeline = [dict(type='CutSubject', size=132), dict(type='FuseSubject', method='S'), resize, pack]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    sampler=dict(weights=dict(_delete_=True, coarse=0.2, simulated=0.2, radiogalaxynet=0.3, first_fr=0.3)),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), paramwise_cfg=dict(bypass_duplicate=True))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.002, update_buffers=True, priority=49),
]
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters, T_max=max_iters - 200, eta_min=1e-6),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
