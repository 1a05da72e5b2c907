# The bundled detector for radio with infrared: it begins with the radio-only weights and looks at SI pictures. Set
# `load_from` to those weights; the set is packed with --infrared.
_base_ = './claran_compact.py'

max_iters = 7000
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
pack = dict(type='PackDetInputs', meta_keys=meta_keys)
train_pipeline = [
    dict(type='CutSubject', size=132, shift=16, zoom=0.1, turn=True),
    dict(type='FuseSubject', method='SI'),
    pack,
]
test_pipeline = [dict(type='CutSubject', size=132), dict(type='FuseSubject', method='SI'), pack]
train_dataloader = dict(
    sampler=dict(weights=dict(_delete_=True, simulated=0.15, radiogalaxynet=0.75, first_fr=0.1)),
    dataset=dict(data_root='data/packed_infrared', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(data_root='data/packed_infrared', pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=200, end=max_iters, T_max=max_iters - 200, eta_min=1e-6),
]
