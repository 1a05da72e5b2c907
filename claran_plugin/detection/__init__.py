"""The detector: Faster R-CNN with spatial-transformer RoI pooling, in OpenMMLab's registries.

Importing this package checks that the stack is complete and registers the parts of detectors; `detection.training`
registers what they are trained and tested with. An mmdet config has ``custom_imports =
dict(imports=['claran_plugin.detection', 'claran_plugin.detection.training'], allow_failed_imports=False)``.
"""

import contextlib
import io


def check_stack() -> None:
    """Raise one clear ImportError where torch, mmengine, mmcv with its compiled ops or mmdet are missing."""
    remedy = "install the detector with 'make venv', or follow 'Installation' in the README"
    try:
        import torch  # noqa: F401
    except ImportError as err:
        raise ImportError(f'PyTorch is not installed ({err}); {remedy}') from err
    try:
        import mmcv._ext  # noqa: F401
    except ImportError as err:
        raise ImportError(
            f'mmcv is missing or was built without its compiled operators ({err}): it has to be built after torch, '
            f'with MMCV_WITH_OPS=1 and --no-build-isolation; {remedy}'
        ) from err
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import mmdet.models  # noqa: F401
    except (ImportError, AssertionError) as err:
        raise ImportError(f'mmdet cannot be imported ({err}); {remedy}') from err


check_stack()

from claran_plugin.detection.averaged_views import AveragedViews  # noqa: E402
from claran_plugin.detection.bbox_head import ClaranBBoxHead  # noqa: E402
from claran_plugin.detection.imagenet_vgg16 import ImageNetVGG16  # noqa: E402
from claran_plugin.detection.learned_fusion import LearnedFusion  # noqa: E402
from claran_plugin.detection.merge_levels import MergeLevels  # noqa: E402
from claran_plugin.detection.roi_head import ClaranRoIHead  # noqa: E402
from claran_plugin.detection.rotating_st_roi_extractor import RotatingSTRoIExtractor  # noqa: E402
from claran_plugin.detection.rpn_head import ClaranRPNHead  # noqa: E402
from claran_plugin.detection.st_roi_extractor import STRoIExtractor  # noqa: E402
from claran_plugin.detection.vgg import ClaranVGG  # noqa: E402

__all__ = [
    'AveragedViews',
    'ClaranBBoxHead',
    'ClaranRPNHead',
    'ClaranRoIHead',
    'ClaranVGG',
    'ImageNetVGG16',
    'LearnedFusion',
    'MergeLevels',
    'RotatingSTRoIExtractor',
    'STRoIExtractor',
    'check_stack',
]
