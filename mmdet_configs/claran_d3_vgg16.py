# The published network on dataset D3: radio contours at 5 sigma over the infrared image.
_base_ = './_base_/published.py'

train_dataloader = dict(dataset=dict(fusion='D3'))
val_dataloader = dict(dataset=dict(fusion='D3'))
test_dataloader = dict(dataset=dict(fusion='D3'))
