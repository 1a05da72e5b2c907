"""Weights of the bundled models as mmengine loads checkpoints: ``load_from='claran://compact'``, also for init_cfg."""

from typing import Any

from mmengine.runner import CheckpointLoader

from claran_plugin.detection.weights_files import read_weights
from claran_plugin.models import find_model

PREFIX = 'claran://'


@CheckpointLoader.register_scheme(prefixes=PREFIX)
def load_bundled(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Give the state dictionary of a bundled model.

    Parameters
    ----------
    filename : str
        Such as ``claran://compact``.
    map_location
        Where mmengine wants the tensors; they are copied into the model anyway.

    Raises
    ------
    InputError
        Where there is no such model, or it comes without weights.
    """
    return dict(state_dict=read_weights(find_model(filename.removeprefix(PREFIX)).weights).state)
