"""What the stages are made of: where they write, what they say and log, how they end."""
