"""Models: where they come from, and how a rope is bound to one."""
