# RadioGalaxyNET's own task: boxes and its four classes on whole 15' pictures (`claran dataset radiogalaxynet`), by the
# compact network. Begin with the bundled infrared weights, in all but the last layer and the anchors
# (`model.init_cfg.type=Pretrained model.init_cfg.checkpoint=FILE`).
_base_ = ['./_base_/models/claran_compact.py', './_base_/schedules/compact.py', './_base_/runtime.py']

data_root = 'data/radiogalaxynet'
metainfo = dict(classes=('FR-II', 'FR-I', 'FR-X', 'R'))
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(300, 300), keep_ratio=False)  # leaves the picture as it is, sets scale_factor
train_pipeline = [
    *load,
    resize,
    dict(type='TurnPicture'),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
test_pipeline = [*load, resize, dict(type='PackDetInputs', meta_keys=meta_keys)]
flips = [dict(type='RandomFlip', prob=1.0, direction=way) for way in ('horizontal', 'vertical', 'diagonal')]
views = [[resize], [dict(type='RandomFlip', prob=0.0), *flips]]
pack_views = dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))
tta_pipeline = [*load, dict(type='TestTimeAug', transforms=[*views, [pack_views]])]
tta_model = dict(type='AveragedViews', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ShuffledSampler'),
    dataset=dict(
        type='SeededCoco',  # mmdet's CocoDataset, for --resume
        metainfo=metainfo,
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + '/val.json', metric='bbox', classwise=True)
test_evaluator = val_evaluator

max_iters = 6500
model = dict(
    backbone=dict(frozen_stages=2),  # they have seen the same pictures; a third of the time
    neck=dict(places=True),  # annotators went around the middle of each picture
    data_preprocessor=dict(bgr_to_rgb=True),  # files are read as blue, green, red
    rpn_head=dict(anchor_generator=dict(ratios=[0.5, 1.0, 2.0])),
    roi_head=dict(bbox_head=dict(num_classes=4)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=200)),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=100), rcnn=dict(score_thr=0.001, nms=dict(type='nms', iou_threshold=0.5))
    ),
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.002, update_buffers=True, priority=49),
]
train_cfg = dict(max_iters=max_iters, val_interval=2000)
auto_scale_lr = dict(base_batch_size=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters, T_max=max_iters - 200, eta_min=1e-6),
]
