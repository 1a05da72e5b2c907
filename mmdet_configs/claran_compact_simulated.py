# Trained on simulated subjects alone, for whoever has no labelled images: ``claran dataset pack --simulate N``.
# Every tenth of them is for validation. With other origins in `sampler.weights` it takes any packed set.
_base_ = './claran_compact.py'

train_dataloader = dict(
    sampler=dict(weights=dict(_delete_=True, simulated=1.0)), dataset=dict(origins=['simulated'], tenths=False)
)
val_dataloader = dict(dataset=dict(origins=['simulated'], tenths=True))
test_dataloader = val_dataloader
