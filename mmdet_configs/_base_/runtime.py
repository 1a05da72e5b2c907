default_scope = 'mmdet'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='claran_plugin.hooks.prediction_pictures.DetectionPictures'),
)
# By their full names: only training imports them.
custom_hooks = [
    dict(type='claran_plugin.hooks.seed_iterations.SeedIterations'),
    dict(type='claran_plugin.hooks.loss_parts.LossParts'),
    dict(type='claran_plugin.hooks.prediction_pictures.PredictionPictures'),
]
runner_type = 'ClaranRunner'
env_cfg = dict(
    # nccl: without a GPU, ClaranRunner takes gloo
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=100, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=20190101)
