# The compact detector on a Radio Galaxy Zoo data set alone: radio only, the 132 px as they are.
_base_ = [
    './_base_/models/claran_compact.py',
    './_base_/datasets/rgz_subjects.py',
    './_base_/schedules/compact.py',
    './_base_/runtime.py',
]
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
load = [dict(type='LoadSubject'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(132, 132), keep_ratio=False)  # leaves the picture as it is, sets scale_factor
train_pipeline_132 = [
    *load,
    resize,
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction')),
]
test_pipeline_132 = [*load, resize, dict(type='PackDetInputs', meta_keys=meta_keys)]
train_dataloader = dict(batch_size=8, dataset=dict(fusion='S', pipeline=train_pipeline_132))
val_dataloader = dict(batch_size=16, dataset=dict(fusion='S', pipeline=test_pipeline_132))
test_dataloader = val_dataloader
