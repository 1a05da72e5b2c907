"""Group the components of a radio source finder into physical sources and classify their morphology."""

__version__ = '0.1.0'
