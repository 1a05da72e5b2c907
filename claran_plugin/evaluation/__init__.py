"""How good detections and associations are; numpy only."""
