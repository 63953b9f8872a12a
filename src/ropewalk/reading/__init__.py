"""Evaluation: per-token NLL, what is read from it, and copying over a distance."""
