"""Writing what an association gives: two tables, the evidence, and a picture, all or none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from claran_plugin.catalogue_writing import atomic_outputs, output_paths, write_component_table, write_source_table
from claran_plugin.explanation import ENDING, evidence_of, write_evidence
from claran_plugin.pipeline import Association


def result_paths(folder: str | Path, name: str, format: str = 'fits', *, picture: bool = True) -> list[Path]:
    """Name the outputs of an image: component table, source table, evidence and, where wanted, picture."""
    components, sources = output_paths(folder, name, format)
    evidence = Path(folder) / f'{name}{ENDING}'
    return [components, sources, evidence, *([Path(folder) / f'{name}.png'] if picture else [])]


def write_result(
    result: Association,
    paths: Sequence[Path],
    *,
    name: str,
    original: str | Path,
    format: str = 'fits',
    overwrite: bool = False,
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write an association.

    Parameters
    ----------
    result : Association
    paths : sequence of Path
        From `result_paths`.
    name : str
        The picture's title.
    original : path
        The user's catalogue; see `catalogue_writing.write_tables`.
    format : str
    overwrite : bool
    provenance : mapping, optional
        Header cards.

    Raises
    ------
    InputError
        Where a file exists and may not be overwritten, or cannot be written.
    """
    with atomic_outputs(paths, overwrite=overwrite) as temporary:
        write_component_table(result.components, temporary[0], original=original, format=format, provenance=provenance)
        write_source_table(result.sources, temporary[1], format=format, provenance=provenance)
        write_evidence(evidence_of(result), temporary[2], paths[1].name, provenance or {})
        draw(result, temporary[3:], name)


def draw(result: Association, paths: Sequence[Path], name: str) -> None:
    """Draw the overlay picture at each of some paths: one, or none."""
    for path in paths:
        from claran_plugin.plotting import overlay  # takes a second to import

        overlay(result, path, title=name)
