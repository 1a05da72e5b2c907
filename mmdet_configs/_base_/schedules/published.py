# The paper's schedule (Section 5): momentum, one subject per iteration, 0.001 and a tenth of it after 50,000. The
# training error is the sum of the four losses (Eq. 11), without a penalty on the weights.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, begin=0, end=80000, milestones=[50000], gamma=0.1)]
auto_scale_lr = dict(enable=False, base_batch_size=1)
