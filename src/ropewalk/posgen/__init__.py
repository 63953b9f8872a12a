"""PosGen: sequences in which the same rule makes every token, so that only new positions can be hard."""
