"""MMDetection configs of the detectors; each file is read by mmengine, none is imported."""
