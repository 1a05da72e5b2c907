"""Group the components of a radio source finder into physical sources and classify their morphology."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claran_plugin.pipeline import associate

__version__ = '0.1.0'
__all__ = ['__version__', 'associate']


def __getattr__(name: str) -> Any:
    """Load what needs the scientific libraries only where it is asked for (PEP 562)."""
    if name == 'associate':
        from claran_plugin.pipeline import associate

        return associate
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
