# The packed subjects at the published 600 px.
_base_ = './packed_subjects.py'

meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
train_pipeline_600 = [
    dict(type='CutSubject', size=132, shift=16),
    dict(type='FuseSubject', method='D1'),
    dict(type='Resize', scale=(600, 600), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction')),
]
test_pipeline_600 = [
    dict(type='CutSubject', size=132),
    dict(type='FuseSubject', method='D1'),
    dict(type='Resize', scale=(600, 600), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
train_dataloader = dict(batch_size=1, dataset=dict(pipeline=train_pipeline_600))
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline_600))
test_dataloader = val_dataloader
