"""Sweeps of the base: measured limits, and predictors held against them."""
