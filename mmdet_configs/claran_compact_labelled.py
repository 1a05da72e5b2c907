# Goes on from the bundled weights with labelled images of one's own: ``claran dataset pack --labelled LIST --simulate N
# --simulate-coarse N``. The first of the five parts of the sky that these are divided into is for validation.
# Other weights to begin with: ``--cfg-options load_from=mine.pth``.
_base_ = './claran_compact_final.py'

load_from = 'claran://compact'
train_dataloader = dict(
    sampler=dict(weights=dict(_delete_=True, labelled=0.6, simulated=0.25, coarse=0.15)),
    dataset=dict(origins=['labelled', 'simulated', 'coarse'], without_folds=[0]),
)
val_dataloader = dict(dataset=dict(origins=['labelled'], folds=[0]))
test_dataloader = val_dataloader
