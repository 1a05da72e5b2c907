# Each region is turned by a learned angle before it is classified (Section 7).
_base_ = './claran_d1_vgg16.py'

model = dict(roi_head=dict(bbox_roi_extractor=dict(type='RotatingSTRoIExtractor')))
