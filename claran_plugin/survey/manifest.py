"""The record of a survey: one row per image, written as soon as the image is finished.

While images are worked on, rows are appended, so that a run which is killed loses none; the last row of an image
counts. At the end the file is written anew, in the order of the list.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from claran_plugin.errors import InputError
from claran_plugin.survey.work import Row

NAME = 'manifest.csv'
WHOLE = ('components', 'sources', 'fields')
NUMBERS = (*WHOLE, 'seconds', 'ra', 'dec', 'radius', 'beam')
COLUMNS = ('name', 'image', 'catalogue', 'infrared', 'state', *NUMBERS, 'key', 'error', 'warnings')


class Manifest:
    """The file.

    Parameters
    ----------
    folder : path
        Of the survey's output.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / NAME
        self.rows: dict[str, Row] = {}

    def read(self) -> None:
        """Read the rows of an earlier run; a last line that was cut off is left out. An empty file has no rows.

        Raises
        ------
        InputError
            Where the file is no manifest.
        """
        try:
            with self.path.open(newline='', encoding='utf-8') as opened:
                reader = csv.DictReader(opened)
                if reader.fieldnames is not None and tuple(reader.fieldnames) != COLUMNS:
                    raise InputError(f'{self.path}: not a manifest of this version; give another folder with -o')
                for line in reader:
                    if None not in line.values() and None not in line:
                        self.rows[line['name']] = {key: _value(key, value) for key, value in line.items()}
        except InputError:
            raise
        except ValueError as err:
            raise InputError(
                f'{self.path}: not as it was written ({err}); mend it, or give another folder with -o'
            ) from err

    def begin(self) -> None:
        """Write what is known, to append to."""
        self._write(self.rows.values())

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        self.rows[row['name']] = row
        with self.path.open('a', newline='', encoding='utf-8') as opened:
            csv.DictWriter(opened, COLUMNS, restval='').writerow(row)
            opened.flush()
            os.fsync(opened.fileno())

    def finish(self, names: Sequence[str]) -> None:
        """Write the file anew, in the order of the list."""
        self._write(self.rows[name] for name in names)

    def _write(self, rows: Iterable[Row]) -> None:
        temporary = self.path.with_name(f'.{NAME}')
        with temporary.open('w', newline='', encoding='utf-8') as opened:
            writer = csv.DictWriter(opened, COLUMNS, restval='')
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path)


def _value(key: str, text: str) -> str | int | float:
    if key not in NUMBERS or not text:
        return text
    return int(float(text)) if key in WHOLE else float(text)
