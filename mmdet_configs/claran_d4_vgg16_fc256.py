# A network of smaller capacity: 256 instead of 4,096 outputs of FC_6 and FC_7 (Section 5.7).
_base_ = './claran_d4_vgg16.py'

model = dict(roi_head=dict(bbox_head=dict(fc_out_channels=256)))
