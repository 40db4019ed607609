"""From the tracklets of segments to sightings of people."""

__all__ = ["embeddings"]
