# All layers are trained at the full rate (Figure 8, top).
_base_ = './claran_d1_vgg16.py'

model = dict(backbone=dict(frozen_stages=0))
