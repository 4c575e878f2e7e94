"""What all schemas of the wire have in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from sirocco.wire.violations import whole_number


class Strict(BaseModel):
    """Values have the type that is written, and unknown members are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


Integer = Annotated[int, BeforeValidator(whole_number)]
"""JSON has one kind of number: 5.0 is an integer, too."""

Stop = Annotated[
    Annotated[str, Field(min_length=1), Tag("<one>")]
    | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=16), Tag("<many>")],
    Discriminator(lambda value: "<many>" if isinstance(value, list) else "<one>"),
]
"""Strings before which an answer ends: one, or some of them."""
