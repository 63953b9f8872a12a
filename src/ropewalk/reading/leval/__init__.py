"""The closed-ended tasks of L-Eval (arXiv 2307.11088): documents, prompts, answers, and how these are scored."""
