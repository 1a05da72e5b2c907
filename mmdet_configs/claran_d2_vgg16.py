# The published network on dataset D2: D1 with the infrared image in the red channel.
_base_ = './_base_/published.py'

train_dataloader = dict(dataset=dict(fusion='D2'))
val_dataloader = dict(dataset=dict(fusion='D2'))
test_dataloader = dict(dataset=dict(fusion='D2'))
