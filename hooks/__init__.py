"""What other programs call: an operation and a script for PyBDSF, and hooks for mmengine's training loop."""
