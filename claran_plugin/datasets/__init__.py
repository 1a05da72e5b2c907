"""Training sets: labelled, simulated and downloaded images into what the detector learns from. No torch."""
