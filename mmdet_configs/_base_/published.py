# ClaRAN as published: network, data and schedule of Wu et al. (2019). docs/published_network.md lists what follows the
# paper, what the authors' code and what mmdet.
_base_ = ['./models/claran_vgg16.py', './datasets/rgz_subjects.py', './schedules/published.py', './runtime.py']
