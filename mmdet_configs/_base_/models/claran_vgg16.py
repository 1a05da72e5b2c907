# ClaRAN as published: Faster R-CNN on VGG-16 with spatial-transformer RoI pooling (Wu et al. 2019, Table 4).
custom_imports = dict(
    imports=['claran_plugin.detection', 'claran_plugin.detection.training'], allow_failed_imports=False
)
# proposals smaller than 4 of the subject's 132 px are left out (Section 4.3.2)
smallest = 4 * 600 / 132

model = dict(
    type='FasterRCNN',
    # the pictures of claran_plugin.fusion are red, green, blue
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.68, 116.779, 103.939], std=[1.0, 1.0, 1.0], bgr_to_rgb=False
    ),
    backbone=dict(type='ClaranVGG', frozen_stages=2),
    rpn_head=dict(
        type='ClaranRPNHead',
        detach_proposals=False,
        in_channels=512,
        feat_channels=512,
        # Boxes of pixels 16 i + 8 - 8 s to 16 i + 7 + 8 s, both counted in, as in the authors' code: their centres, in
        # pixels counted from 0 at the centre of the first, are 16 i + 7.5, here 16 i + 8, counted from its edge.
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[1, 2, 4, 8, 16, 32],
            ratios=[1.0],
            strides=[16],
            base_sizes=[16],
            center_offset=0.5,
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        # mmdet divides by the 256 anchors that are drawn, Eq. 6 by the 5,241 inside the picture
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9, loss_weight=256 / 5241),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.01, a=-0.02, b=0.02),
    ),
    roi_head=dict(
        type='ClaranRoIHead',
        bbox_roi_extractor=dict(type='STRoIExtractor', out_channels=512, featmap_strides=[16], output_size=7),
        bbox_head=dict(
            type='ClaranBBoxHead',
            dropout=0.5,
            in_channels=512,
            fc_out_channels=4096,
            roi_feat_size=7,
            num_classes=6,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            init_cfg=dict(
                type='TruncNormal',
                layer='Linear',
                std=0.01,
                a=-0.02,
                b=0.02,
                override=dict(type='TruncNormal', name='fc_reg', std=0.001, a=-0.002, b=0.002),
            ),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.01,  # the best anchor of a source is positive, however little they overlap
                match_low_quality=True,
                ignore_iof_thr=0.5,
            ),
            sampler=dict(type='RandomSampler', num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            # An anchor's last pixel has to lie inside the picture: its edge may be at 600, where mmdet wants less. All
            # edges are multiples of 8, so 1 lets in these and no more, and 5,241 anchors are inside (Eq. 6).
            allowed_border=1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(
            nms_pre=6000, max_per_img=2000, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=smallest
        ),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=(0.1, 0.5),
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=0.5,
            ),
            sampler=dict(type='RandomSampler', num=128, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=6000, max_per_img=5, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=smallest),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.3), max_per_img=100),
    ),
)
