"""Search for a rope without training: spaces, objective, study, rivals, and a test of what was found."""
