# Low layers are trained too, but the more slowly the lower they are, as Section 7 suggests without giving numbers: each
# stage at about three times the rate of the one below.
_base_ = './claran_d1_vgg16_unfrozen.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'backbone.stages.0': dict(lr_mult=0.01),
            'backbone.stages.1': dict(lr_mult=0.03),
            'backbone.stages.2': dict(lr_mult=0.1),
            'backbone.stages.3': dict(lr_mult=0.3),
        }
    )
)
