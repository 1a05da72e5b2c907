# The published network on dataset F: radio only, linear stretch.
_base_ = './_base_/published.py'

train_dataloader = dict(dataset=dict(fusion='F'))
val_dataloader = dict(dataset=dict(fusion='F'))
test_dataloader = dict(dataset=dict(fusion='F'))
