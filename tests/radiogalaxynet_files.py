"""Files as RadioGalaxyNET publishes them."""

import json

import numpy as np
from PIL import Image


def write_radiogalaxynet(folder):
    """Write one image with one source at (300, 150), and a star at the same place in the infrared."""
    y, x = np.mgrid[:450, :450]
    stretched = np.clip(1.2 - ((x - 300) ** 2 + (y - 150) ** 2) / 60, 0, 1) * 65535
    polygon = [285, 135, 315, 135, 315, 165, 285, 165]
    annotation = dict(id=1, image_id=1, category_id=2, bbox=[290, 140, 20, 20], area=400, segmentation=[polygon])
    annotation['keypoints'] = [300, 150, 2]
    image = dict(id=1, file_name='a.png', width=450, height=450)
    categories = [dict(id=k, name=name) for k, name in enumerate(('FR-II', 'FR-I', 'FR-X', 'R'), 1)]
    listing = dict(images=[image], annotations=[annotation], categories=categories)
    (folder / 'annotations.json').write_text(json.dumps(listing))
    (folder / 'radio').mkdir()
    (folder / 'infrared').mkdir()
    Image.fromarray(stretched.astype(np.uint16)).save(folder / 'radio' / 'a.png')
    star = 200 * np.exp(-((x[:225, :225] - 149.75) ** 2 + (y[:225, :225] - 74.75) ** 2) / 4)
    Image.fromarray(star.astype(np.uint8)).save(folder / 'infrared' / 'a.jpg', quality=95)
    return folder
