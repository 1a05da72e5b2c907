# As ``claran_compact_labelled.py``, for the detector that also looks at infrared images; the set is packed with
# --infrared.
_base_ = './claran_compact_infrared.py'

max_iters = 1200
load_from = 'claran://compact_infrared'
train_dataloader = dict(
    sampler=dict(weights=dict(_delete_=True, labelled=0.7, simulated=0.3)),
    dataset=dict(origins=['labelled', 'simulated'], without_folds=[0]),
)
val_dataloader = dict(dataset=dict(origins=['labelled'], folds=[0]))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, T_max=max_iters - 50, eta_min=1e-6),
]
