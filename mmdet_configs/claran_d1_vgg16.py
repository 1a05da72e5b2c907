# The published network on dataset D1 (radio only, logarithmic stretch). ImageNet weights of VGG-16, if there are any,
# are given with ``--cfg-options load_from=FILE``.
_base_ = [
    './_base_/models/claran_vgg16.py',
    './_base_/datasets/packed_subjects_600.py',
    './_base_/schedules/published.py',
    './_base_/runtime.py',
]
