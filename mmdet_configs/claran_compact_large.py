# The second stage of the bundled weights: sources larger than a field of view, at coarser beams, join the mixture. It
# begins with the weights of the first, set by `load_from`; the set is packed with --simulate-coarse.
_base_ = './claran_compact.py'

max_iters = 5000
train_dataloader = dict(
    sampler=dict(weights=dict(_delete_=True, coarse=0.7, simulated=0.1, radiogalaxynet=0.1, first_fr=0.1)),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=max_iters, T_max=max_iters - 100, eta_min=1e-6),
]
