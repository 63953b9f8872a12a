"""Training: one resumable loop, and the data that it is fed."""
