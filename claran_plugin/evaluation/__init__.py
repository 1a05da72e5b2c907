"""How good detections and associations are, and the tables and figures of the paper about it; without torch."""
