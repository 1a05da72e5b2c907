"""Many images: a list of them on a cluster, a manifest of what became of each, and one catalogue of all."""
