"""The one exception type for faults in what a user gave."""


class InputError(ValueError):
    """A fault in an input; its one-line text names the file, the fault and the remedy."""


class InputWarning(UserWarning):
    """Something in an input that was handled but that a user should know about."""
