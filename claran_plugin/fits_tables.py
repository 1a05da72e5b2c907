"""Adding columns to a table in a FITS file while every other byte of the file stays as it is.

`astropy.io.fits` decodes and encodes columns on the way, which changes scaled columns, padding and not-a-numbers.
"""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

BLOCK = 2880


def is_fits(path: str | Path) -> bool:
    """Tell whether a file is FITS, plain or gzipped."""
    return _read_bytes(path, 6) == b'SIMPLE'


def extend_table(
    path: str | Path, hdu_number: int, columns: Sequence[fits.Column], renamed: Mapping[str, str] | None = None
) -> tuple[bytes, fits.Header, bytes]:
    """Append columns to a binary table of a FITS file.

    A column that has the name of an old one (case does not count) takes its place.

    Parameters
    ----------
    path : path
        The FITS file; it is only read.
    hdu_number : int
        Which HDU is the table.
    columns : sequence of Column
        Scalars or text, each with as many values as the table has rows.
    renamed : mapping of str to str, optional
        New names of old columns.

    Returns
    -------
    before : bytes
        The file up to the table.
    header : Header
        Of the new table; more cards may be added.
    after : bytes
        Rows and heap, and the rest of the file.
    """
    content = _read_bytes(path)
    with fits.open(path) as hdus:
        hdu = hdus[hdu_number]
        header, info, layout = hdu.header.copy(), hdu.fileinfo(), hdu.columns.dtype
    start, end = info['datLoc'], info['datLoc'] + info['datSpan']
    n, width = header['NAXIS2'], header['NAXIS1']
    rows = np.frombuffer(content, np.uint8, n * width, start).reshape(n, width)
    heap = content[start + n * width : start + n * width + header['PCOUNT']]

    names = [(renamed or {}).get(name, name) for name in layout.names]
    for number, (name, old) in enumerate(zip(names, layout.names, strict=True), start=1):
        if name != old:
            header[f'TTYPE{number}'] = name
    places = {name.lower(): place for place, name in enumerate(names, start=1)}
    blocks = [
        rows[:, offset : offset + kind.itemsize] for kind, offset in (layout.fields[name] for name in layout.names)
    ]
    for column in columns:
        place = places.get(column.name.lower())
        if place is None:
            place = len(blocks) + 1
            blocks.append(_column_bytes(column, n))
        else:
            blocks[place - 1] = _column_bytes(column, n)
            for key in ('TUNIT', 'TNULL', 'TSCAL', 'TZERO', 'TDISP', 'TDIM'):
                header.remove(f'{key}{place}', ignore_missing=True)
        last = f'TFORM{place - 1}' if place > 1 else 'TFIELDS'
        cards = {'TTYPE': column.name, 'TFORM': column.format} | ({'TUNIT': column.unit} if column.unit else {})
        for key, value in reversed(cards.items()):
            if f'{key}{place}' in header:
                header[f'{key}{place}'] = value
            else:
                header.insert(_last_card(header, place - 1, last), (f'{key}{place}', value), after=True)
    header['TFIELDS'] = len(blocks)
    table = np.concatenate(blocks, axis=1)
    header['NAXIS1'] = table.shape[1]
    if 'THEAP' in header:
        header['THEAP'] += table.size - rows.size
    data = table.tobytes() + heap
    return content[: info['hdrLoc']], header, data + bytes(-len(data) % BLOCK) + content[end:]


def write_extended(path: str | Path, before: bytes, header: fits.Header, after: bytes) -> None:
    """Write the parts that `extend_table` gives; checksums are renewed where the header has them."""
    if 'CHECKSUM' in header or 'DATASUM' in header:
        hdu = fits.BinTableHDU.fromstring(header.tostring().encode('ascii') + after)
        hdu.add_checksum()
        header = hdu.header
    Path(path).write_bytes(before + header.tostring().encode('ascii') + after)


def _read_bytes(path: str | Path, size: int = -1) -> bytes:
    with open(path, 'rb') as file:
        zipped = file.read(2) == b'\x1f\x8b'
    with gzip.open(path) if zipped else open(path, 'rb') as file:
        return file.read(size)


def _last_card(header: fits.Header, place: int, default: str) -> str:
    """Find the last card that describes the column at a place."""
    keys = [card.keyword for card in header.cards if card.keyword.startswith('T') and card.keyword[-1].isdigit()]
    own = [key for key in keys if key.rstrip('0123456789') + str(place) == key]
    return own[-1] if own else default


def _column_bytes(column: fits.Column, n: int) -> NDArray:
    """Encode the values of a column of numbers or text as FITS does: big-endian, text padded with NUL, (n, width)."""
    values = np.asarray(column.array).astype(column.dtype.newbyteorder('>'))
    return np.frombuffer(values.tobytes(), np.uint8).reshape(n, values.itemsize)
