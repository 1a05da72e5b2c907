# The published network on dataset D4, its best: D3 without what lies outside the hull of all contours.
_base_ = './_base_/published.py'

train_dataloader = dict(dataset=dict(fusion='D4'))
val_dataloader = dict(dataset=dict(fusion='D4'))
test_dataloader = dict(dataset=dict(fusion='D4'))
