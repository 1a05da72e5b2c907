"""What other programs call: `OpClaran`, the association as an operation of PyBDSF, and a script for pipelines."""

from claran_plugin.hooks.op_claran import OpClaran

__all__ = ['OpClaran']
