"""Warnings on the command line: one line each, and few that are alike."""

import warnings

from claran_plugin.errors import InputWarning
from claran_plugin.outcome import warnings_in_one_line


def warn(*texts):
    for text in texts:
        warnings.warn(text, InputWarning, stacklevel=2)


def test_each_is_one_line_and_told_once(capsys):
    with warnings_in_one_line('claran'):
        warn('a.fits: odd\nthing', 'a.fits: odd\nthing', 'b.fits: another')
        warnings.warn('of a library', UserWarning, stacklevel=2)
    assert capsys.readouterr().err == 'claran: warning: a.fits: odd thing\nclaran: warning: b.fits: another\n'


def test_of_many_that_are_alike_few_are_told(capsys):
    with warnings_in_one_line('claran'):
        warn(*(f'field_{k}.fits: {k + 2} of its {2.5 * k} components are narrow' for k in range(10)), 'x.fits: other')
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[2] == 'claran: warning: field_2.fits: 4 of its 5.0 components are narrow'
    assert lines[3] == 'claran: warning: x.fits: other'
    assert lines[4] == 'claran: warning: 7 more like the 3 above on: N of its N components are narrow'


def test_a_failure_tells_them_too(capsys):
    try:
        with warnings_in_one_line('claran'):
            warn(*(f'{k}.fits: odd' for k in range(4)))
            raise KeyError
    except KeyError:
        pass
    assert '1 more like' in capsys.readouterr().err
