"""Stretches of footage worked through one by one: in this process, in several, on Ray, or live."""
