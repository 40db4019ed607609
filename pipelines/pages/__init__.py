"""What stages and sweeps leave as pages, curves and pictures."""
