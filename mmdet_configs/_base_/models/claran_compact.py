# A ClaRAN for CPUs: a quarter of VGG-16's width with batch normalisation, Conv4_3 and Conv5_3 merged on the finer grid
# (33 x 33 over the field of view, the sky scale of the published 37 x 37), FC-256. It looks at the 132 px of a field as
# they are and leaves out the first pooling: the same maps as from a picture magnified to 264 px, in half the time.
_base_ = './claran_vgg16.py'

model = dict(
    data_preprocessor=dict(mean=[64.0, 64.0, 64.0], std=[64.0, 64.0, 64.0]),
    backbone=dict(
        widths=(16, 32, 64, 128, 128),
        norm=True,
        frozen_stages=0,
        out_stages=(3, 4),
        first_pooling=False,
        train_in_bfloat16=True,
    ),
    neck=dict(type='MergeLevels', in_channels=(128, 128), out_channels=128),
    rpn_head=dict(
        detach_proposals=True,
        in_channels=128,
        feat_channels=128,
        anchor_generator=dict(strides=[4], base_sizes=[4], center_offset=0.0),
        loss_cls=dict(use_sigmoid=True),
        loss_bbox=dict(loss_weight=1.0),
        init_cfg=dict(_delete_=True, type='Normal', layer='Conv2d', std=0.01),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128, featmap_strides=[4]),
        bbox_head=dict(in_channels=128, fc_out_channels=256, dropout=0.0, init_cfg=None),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(pos_iou_thr=0.6, min_pos_iou=0.3), sampler=dict(num=128), allowed_border=-1),
        rpn_proposal=dict(nms_pre=400, max_per_img=80, min_bbox_size=0),
        rcnn=dict(assigner=dict(neg_iou_thr=0.5), sampler=dict(num=48)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=30, min_bbox_size=0)),
)
