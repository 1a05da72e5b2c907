# The bundled default: radio only, signal-to-noise channels.
_base_ = [
    './_base_/models/claran_compact.py',
    './_base_/datasets/packed_subjects.py',
    './_base_/schedules/compact.py',
    './_base_/runtime.py',
]
