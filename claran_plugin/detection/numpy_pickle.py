"""Reading a pickled dictionary of arrays from a .npy file without running what else a pickle may hold."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from claran_plugin.errors import InputError

# numpy 1 and 2 name the same functions differently; Python 2 wrote strings where Python 3 has bytes
_ARRAY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')
_ALLOWED = {
    **{(module, '_reconstruct'): ('numpy._core.multiarray', '_reconstruct') for module in _ARRAY_MODULES},
    **{(module, 'scalar'): ('numpy._core.multiarray', 'scalar') for module in _ARRAY_MODULES},
    **{(f'numpy.{core}.numeric', '_frombuffer'): ('numpy._core.numeric', '_frombuffer') for core in ('core', '_core')},
    ('numpy', 'ndarray'): ('numpy', 'ndarray'),
    ('numpy', 'dtype'): ('numpy', 'dtype'),
    ('_codecs', 'encode'): ('_codecs', 'encode'),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Know numpy's arrays; dictionaries, lists, strings and numbers need no import."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the few classes that arrays are made of."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f'it holds {module}.{name}')
        return super().find_class(*_ALLOWED[module, name])


def load_arrays(path: str | Path, remedy: str) -> dict[str, Any]:
    """Read a dictionary that was saved with `numpy.save`, from any version of Python and numpy.

    Parameters
    ----------
    path : path
    remedy : str
        What the user can do, for the end of an error message.

    Returns
    -------
    dict of arrays, or of dicts of arrays, ...

    Raises
    ------
    InputError
        Where the file is not one, or holds anything else than arrays, dictionaries, lists, strings and numbers.
    """
    try:
        with open(path, 'rb') as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            if shape != () or not dtype.hasobject:
                raise InputError(f'{path}: holds an array of {dtype} {shape}, not a dictionary; {remedy}')
            content = _ArrayUnpickler(file, encoding='latin1').load()
    except InputError:
        raise
    except Exception as err:  # a damaged pickle may raise anything
        raise InputError(f'{path}: not a readable .npy file of arrays ({err}); {remedy}') from err
    content = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
    if not isinstance(content, dict):
        raise InputError(f'{path}: holds {type(content).__name__}, not a dictionary; {remedy}')
    return content
