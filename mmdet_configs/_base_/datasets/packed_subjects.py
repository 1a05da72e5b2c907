# Packed training subjects (``claran dataset pack``), fused on the fly. A child config sets `data_root`, `mixture`, the
# fusion and the size through the dataloaders, as variables of a base are not re-evaluated.
data_root = 'data/packed'

train_pipeline = [
    dict(type='CutSubject', size=132, shift=16, zoom=0.1, turn=True),
    dict(type='FuseSubject', method='S'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
test_pipeline = [
    dict(type='CutSubject', size=132),
    dict(type='FuseSubject', method='S'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='MixtureSampler', weights=dict(simulated=0.3, radiogalaxynet=0.35, first_fr=0.35), balance=0.5),
    dataset=dict(type='PackedSubjects', data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='PackedSubjects', data_root=data_root, origins=['first'], pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='MorphologyAP')
test_evaluator = val_evaluator
