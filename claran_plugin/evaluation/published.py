"""Values that Wu et al. (2019) published, table by table, to stand beside those of another run.

NaN where the paper's text gives no number.
"""

from claran_plugin.morphology import CLASSES

NAN = float('nan')
METHODS = ('F', 'D1', 'D2', 'D3', 'D4')
"""Methods of fusion, the columns of Table 5."""
BEST_METHODS = ('D3', 'D4')
"""Columns of Tables 6 to 11."""

N_FIELDS = 4603
"""Subjects of the testing set (Table 2)."""
N_SOURCES = dict(zip(CLASSES, (1782, 521, 684, 604, 599, 668), strict=True))
"""Sources of the testing set (Table 3)."""
N_MULTI_SOURCE_FIELDS = 250
"""Fields of at least two sources in the testing set (Section 5.4)."""
N_MULTI_SOURCE = {'1C': 487, '2C': 13, '3C': 5}
"""Sources in these fields (Table 7)."""
N_VERIFIED_FIELDS = 500
"""Fields that an astronomer looked at (Section 6.1.2)."""
N_VERIFIED_MULTI_SOURCE_FIELDS = 36
"""Those of at least two sources (Section 6.2.2)."""

TABLE_5 = {
    '1C_1P': (0.8087, 0.8580, 0.8242, 0.8485, 0.8784),
    '1C_2P': (0.6376, 0.6882, 0.6843, 0.6746, 0.7074),
    '1C_3P': (0.8250, 0.8816, 0.8561, 0.8876, 0.8941),
    '2C_2P': (0.7474, 0.7014, 0.7231, 0.7983, 0.8200),
    '2C_3P': (0.8087, 0.7099, 0.6989, 0.8047, 0.7916),
    '3C_3P': (0.7708, 0.8636, 0.8561, 0.9424, 0.9269),
    'mean': (0.785, 0.784, 0.774, 0.826, 0.836),
}
"""Average precision of each class for `METHODS`. The six values of F average to 0.766, not to the printed 78.5 %."""
TABLE_6 = {'1C': (0.8644, 0.9054), '2C': (0.8699, 0.8946), '3C': (0.9424, 0.9269), 'mean': (0.892, 0.909)}
"""Average precision of three classes, by the number of components."""
TABLE_7 = {'1C': (NAN, 0.8394), '2C': (0.2800, 0.3892), '3C': (0.88, 0.2709), 'mean': (0.637, 0.500)}
"""The same in multi-source fields; D3's value of 3C is from the text of Section 5.4."""
TABLE_8_ABOVE = 0.97
"""All correlation coefficients of Table 8 exceed this (Section 5.5)."""
TABLE_9 = {'RGZ DR1': (447.0, 465.2), 'Astronomer': (465.5, 477.2)}
"""Score over `N_VERIFIED_FIELDS` fields."""
TABLE_10 = {'= 1': (0.834, 0.864), '< 1': (0.154, 0.122), '> 1': (0.012, 0.014)}
"""Share of the verified fields by completeness ratio."""
TABLE_11 = {'= 1': (0.556, 0.668), '< 1': (0.278, 0.166), '> 1': (0.166, 0.166)}
"""The same for the verified fields of at least two sources."""
