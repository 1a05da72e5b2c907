"""A small truth and predictions in the forms that ``claran evaluate`` reads."""

import json

from claran_plugin.morphology import CLASSES


def coco_truth(fields, *, pixel_arcsec=1.375):
    """Make a truth of fields ``(sources, ra, dec)``, where a source is ``(class name, x, y, side, consensus)``."""
    images, annotations = [], []
    for number, (sources, ra, dec) in enumerate(fields, 1):
        images.append(
            dict(
                id=number, file_name=f'{number}.fits', infrared=None, width=132, height=132,
                ra=ra, dec=dec, first_id=f'FIELD{number}',
            )
        )  # fmt: skip
        for name, x, y, side, consensus in sources:
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=number, category_id=CLASSES.index(name) + 1,
                    bbox=[x, y, side, side], area=side * side, iscrowd=0, consensus=consensus,
                )
            )  # fmt: skip
    categories = [dict(id=k, name=name) for k, name in enumerate(CLASSES, 1)]
    info = dict(description='a test', pixel_arcsec=pixel_arcsec)
    return dict(info=info, categories=categories, images=images, annotations=annotations)


def detection(image_id, name, x, y, side, score):
    """Make one entry of the predictions."""
    return dict(image_id=image_id, category_id=CLASSES.index(name) + 1, bbox=[x, y, side, side], score=score)


FIELDS = [
    ([('1C_1P', 10, 10, 20, 1.0)], 10.0, 20.0),
    ([('2C_3P', 30, 30, 60, 0.65), ('1C_1P', 100, 100, 12, 0.95)], 11.0, 20.0),
    ([('3C_3P', 20, 20, 80, 0.72)], 12.0, 20.0),
    ([('2C_3P', 40, 40, 50, 0.7)], 13.0, 20.0),
    ([('1C_2P', 60, 60, 30, 0.85)], 14.0, 20.0),
]
FOUND = [
    # right; a second class below the rule
    detection(1, '1C_1P', 10, 10, 21, 0.97),
    detection(1, '1C_2P', 10, 10, 20, 0.30),
    # one of two sources
    detection(2, '2C_3P', 31, 30, 60, 0.90),
    # right, and a classification too many
    detection(3, '3C_3P', 20, 20, 78, 0.99),
    detection(3, '2C_2P', 20, 20, 40, 0.81),
    # the highest is below the rule, and right
    detection(4, '2C_3P', 40, 41, 50, 0.60),
    detection(4, '3C_3P', 40, 41, 50, 0.50),
    # wrong class first
    detection(5, '1C_3P', 60, 60, 30, 0.88),
    detection(5, '1C_2P', 60, 60, 30, 0.85),
]


def write_case(folder, fields=FIELDS, found=FOUND, **options):
    """Write the truth and the predictions, and give their paths."""
    truth, predictions = folder / 'test.json', folder / 'predictions.bbox.json'
    truth.write_text(json.dumps(coco_truth(fields, **options)))
    predictions.write_text(json.dumps(found))
    return predictions, truth
