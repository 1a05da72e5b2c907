# A 1 x 1 convolution in front of the network learns to mix the channels of D2, radio and infrared (Section 5.2).
_base_ = './claran_d2_vgg16.py'

model = dict(backbone=dict(fusion=dict(type='LearnedFusion')))
