"""What every section of a configuration is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ropewalk.errors import UserError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Tokens = Annotated[int, Field(ge=2)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@contextmanager
def faults_of_a_key() -> Iterator[None]:
    """Let a fault that the package finds be one of the schema, which adds the key to the sentence."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error).rstrip(".")) from None
