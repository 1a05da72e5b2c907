# The last stage of the bundled weights: all labelled FIRST subjects join the mixture. A fold of the cross-validation
# leaves its own out, with ``--cfg-options train_dataloader.dataset.without_folds='[0]'``; what it is judged on is then
# ``val_dataloader.dataset.folds='[0]'``, and of ``test_dataloader``. Without, it is judged on what it was trained on.
_base_ = './claran_compact.py'

max_iters = 1200
train_dataloader = dict(
    sampler=dict(weights=dict(_delete_=True, coarse=0.25, simulated=0.1, radiogalaxynet=0.15, first_fr=0.2, first=0.3))
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, T_max=max_iters - 50, eta_min=1e-6),
]
