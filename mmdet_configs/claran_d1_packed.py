# The published network on the bundled model's training set: fields of view of packed subjects, fused as D1 at 600 px,
# without weights of ImageNet and so without frozen stages. For a GPU.
_base_ = [
    './_base_/models/claran_vgg16.py',
    './_base_/datasets/packed_subjects.py',
    './_base_/schedules/compact.py',
    './_base_/runtime.py',
]

max_iters = 3000
resize = dict(type='Resize', scale=(600, 600), keep_ratio=False)
pack = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
train_pipeline = [
    dict(type='CutSubject', size=132, shift=16, zoom=0.1, turn=True),
    dict(type='FuseSubject', method='D1'),
    resize,
    pack,
]
test_pipeline = [dict(type='CutSubject', size=132), dict(type='FuseSubject', method='D1'), resize, pack]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(weights=dict(_delete_=True, coarse=0.2, simulated=0.2, radiogalaxynet=0.3, first_fr=0.3)),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(
    # pictures in the range that random weights are drawn for
    data_preprocessor=dict(mean=[64.0, 64.0, 64.0], std=[64.0, 64.0, 64.0]),
    backbone=dict(frozen_stages=0),
    # as in the compact network: the published numbers of proposals are for single subjects
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=300)),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters, T_max=max_iters - 200, eta_min=1e-6),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
