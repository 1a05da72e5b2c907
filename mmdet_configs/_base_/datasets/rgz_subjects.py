# A Radio Galaxy Zoo data set (``claran dataset rgz``) at the published 600 px: FITS files, fused while training runs. A
# child config sets `data_root`, the fusion and the size through all three dataloaders, as variables of a base are not
# re-evaluated.
data_root = 'data/rgz'

train_pipeline = [
    dict(type='LoadSubject'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(600, 600), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
# The boxes are read before the resizing, as MorphologyAP carries them back to the field of view.
test_pipeline = [
    dict(type='LoadSubject'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(600, 600), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ShuffledSampler'),
    dataset=dict(
        type='RGZSubjects',
        data_root=data_root,
        ann_file='train.json',
        fusion='D1',
        cache='fused',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='RGZSubjects',
        data_root=data_root,
        ann_file='test.json',
        fusion='D1',
        cache='fused',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='MorphologyAP')
test_evaluator = val_evaluator
