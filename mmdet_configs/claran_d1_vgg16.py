# The published network on dataset D1: radio only, logarithmic stretch. The first two stages are frozen (Section 4.2).
_base_ = './_base_/published.py'

train_dataloader = dict(dataset=dict(fusion='D1'))
val_dataloader = dict(dataset=dict(fusion='D1'))
test_dataloader = dict(dataset=dict(fusion='D1'))
