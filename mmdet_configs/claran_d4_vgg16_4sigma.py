# Contours, and with them the hull, at 4 instead of 5 sigma (Section 5.3).
_base_ = './claran_d4_vgg16.py'

train_dataloader = dict(dataset=dict(fusion_options=dict(sigma=4.0)))
val_dataloader = dict(dataset=dict(fusion_options=dict(sigma=4.0)))
test_dataloader = dict(dataset=dict(fusion_options=dict(sigma=4.0)))
