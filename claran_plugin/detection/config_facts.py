"""What a config says of the pictures that its detector looks at."""

from mmengine.config import Config


def _transform(config: Config, kind: str) -> dict | None:
    pipeline = config.get('test_dataloader', {}).get('dataset', {}).get('pipeline', [])
    return next((step for step in pipeline if step['type'] == kind), None)


def fusion_of(config: Config) -> tuple[str, dict]:
    """Give the fusion method that the detector was trained with, and its options."""
    step = _transform(config, 'FuseSubject')
    if step:
        return step['method'], {}
    dataset = config.get('test_dataloader', {}).get('dataset', {})
    return dataset.get('fusion', 'S'), dict(dataset.get('fusion_options') or {})


def input_size_of(config: Config) -> int:
    """Give the side of the pictures, pixels."""
    step = _transform(config, 'Resize')
    return int(step['scale'][0]) if step else 132
