"""Tables and figures: read from what was measured, never measuring anything."""
