"""What all schemas of the wire have in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from sirocco.wire.violations import whole_number


class Strict(BaseModel):
    """Values have the type that is written, and unknown members are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


Integer = Annotated[int, BeforeValidator(whole_number)]
"""JSON has one kind of number: 5.0 is an integer, too."""
