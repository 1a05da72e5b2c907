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
        The user's catalogue; see `catalogue_writing.write_component_table`.
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
        write_files(
            result, temporary, paths[1].name, title=name, original=original, format=format, provenance=provenance
        )


def write_files(
    result: Association,
    files: Sequence[Path],
    sources: str,
    *,
    title: str,
    original: str | Path,
    format: str = 'fits',
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write an association to files as they stand, where `sources` is to be the source table's name."""
    write_component_table(result.components, files[0], original=original, format=format, provenance=provenance)
    write_source_table(result.sources, files[1], format=format, provenance=provenance)
    write_evidence(evidence_of(result), files[2], sources, provenance or {})
    draw(result, files[3:], title)


def draw(result: Association, paths: Sequence[Path], name: str) -> None:
    """Draw the overlay picture at each of some paths: one, or none."""
    for path in paths:
        from claran_plugin.plotting import overlay  # takes a second to import

        overlay(result, path, title=name)
