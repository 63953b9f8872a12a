"""Models: where they come from, and how a rope is bound to one."""

from transformers.utils import logging

# Its bars over weights and shards would stand between the lines of our own progress.
logging.disable_progress_bar()
