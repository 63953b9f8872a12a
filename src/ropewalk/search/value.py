"""What measurements of a document are worth: the one number that searches make small and tests report."""

from __future__ import annotations

import numpy as np

from ropewalk.rope.rope import FloatArray

ANSWER_WEIGHT, TAIL_WEIGHT = 1.0, 0.5
CAP = 1.5
"""Nats above the reference at which one document's answer or tail counts no further."""
REFERENCE = "yarn"
"""The hand-made rope, as coded everywhere and at the same factor, that others are measured against."""


def document_values(
    tail: FloatArray, answer: FloatArray, reference_tail: FloatArray, reference_answer: FloatArray
) -> FloatArray:
    """1 × (answer − that of the reference) + 0.5 × (tail − that of the reference), nats, each at most 1.5 above it.

    Where the reference has no answers, the difference of the tails alone.

    Args:
        tail: mean NLL of the tokens beyond the training length, shape (documents,); nan where it was not measured.
        answer: mean NLL of the answer's tokens, of the same shape.
        reference_tail: of the reference on the same documents.
        reference_answer: of the reference on the same documents.
    """
    far = np.minimum(tail - reference_tail, CAP)
    if np.isnan(reference_answer).all():
        return np.asarray(far)
    return np.asarray(ANSWER_WEIGHT * np.minimum(answer - reference_answer, CAP) + TAIL_WEIGHT * far)
