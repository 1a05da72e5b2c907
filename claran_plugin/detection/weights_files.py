"""Files of weights: reading them, and making them of a training's checkpoint."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from claran_plugin.detection.config_facts import fusion_of
from claran_plugin.errors import InputError

FUSION = 'fusion'
"""In a file, beside ``state_dict``: how the pictures were made that the weights were trained on."""


class Weights(NamedTuple):
    """What a weights file holds.

    Attributes
    ----------
    digest : str
        The first 12 hexadecimal digits of the file's SHA-256.
    state : dict of tensors
    fusion : str, optional
        How the pictures were made that they were trained on, where the file says so.
    """

    digest: str
    state: dict[str, torch.Tensor]
    fusion: str | None


def read_weights(path: str | Path) -> Weights:
    """Read a weights file.

    Raises
    ------
    InputError
        Where there is no such file, or it holds no state dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'{path}: no such weights file; give an existing one with --weights')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as err:
        # of these torch speaks at length, in bold, and advises to run what they hold
        what = 'it holds more than tensors, or is none of PyTorch' if isinstance(err, UnpicklingError) else said(err)
        raise InputError(
            f'{path}: not a readable weights file ({what}); give a PyTorch state dictionary, '
            f'which "claran weights" makes of a checkpoint that training has written'
        ) from err
    state = content.get('state_dict', content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            f'{path}: holds {type(content).__name__}, not a state dictionary of tensors; give a trained model'
        )
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    return Weights(digest, state, content.get(FUSION) if 'state_dict' in content else None)


def save_weights(checkpoint: str | Path, path: str | Path) -> None:
    """Strip a training checkpoint to its weights in half precision, and how pictures are made for them.

    A checkpoint of mmengine holds more than tensors, so reading it can run code: give only files that you trust.

    Raises
    ------
    InputError
        Where there is no such file, or it is no checkpoint.
    """
    if not Path(checkpoint).is_file():
        raise InputError(f'{checkpoint}: no such checkpoint; give one that "claran train" has written')
    try:
        content = torch.load(checkpoint, map_location='cpu', weights_only=False)
        state = content['state_dict']
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    except Exception as err:
        raise InputError(
            f'{checkpoint}: not a checkpoint of a training ({said(err)}); give one that "claran train" has written'
        ) from err
    torch.save(dict(state_dict=state, **_fusion_told(content)), path)


def _fusion_told(checkpoint: dict[str, Any]) -> dict[str, str]:
    """Give the entry of the fusion that a checkpoint's config tells; none where it has no config, or another's."""
    try:
        return {FUSION: fusion_of(Config.fromstring(checkpoint['meta']['cfg'], '.py'))[0]}
    except Exception:
        return {}


def said(err: Exception) -> str:
    """Give an error's type and the beginning of its text, in one line."""
    return f'{type(err).__name__}: {" ".join(str(err).split())[:120]}'
