"""How a trunk trains on a processor: its own passes for what torch does slowly there."""
