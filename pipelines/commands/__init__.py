"""The commands of ``reid`` that need more than ``serving``; heavy imports are inside them."""
