"""Ropes that were published or found, with where they come from and what was measured."""
