"""Whether an engine applies a rope, told by the log-probabilities that it gives to the tokens of a prompt."""
