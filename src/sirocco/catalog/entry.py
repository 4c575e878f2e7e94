"""What is known of one model."""

from dataclasses import dataclass
from pathlib import Path

from sirocco.catalog.price import FREE, Price


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model.

    Attributes:
        template: how a conversation becomes a prompt; None if the checkpoint has none.
        folder: where its checkpoint is, or would be.
        default_system: what stands before a bare prompt that is not raw; None is nothing.
        preset: name of its shape.
        hub: the repository where its checkpoint is published.
        weights_of: the model whose checkpoint this one shares.
        is_embedded: its weights come with the package.
        public_id: the UUID that the public service knows it by, where that is known.
        context_window: prompt and output tokens together, as the checkpoint has it;
            public_context_window as the public service had it.
        price: what its tokens cost; nothing for a model of one's own that names no price.
        is_experimental: the public service called it so.
        unsupported: why this version cannot run it; None if it can.
    """

    model_id: str
    template: str | None
    folder: Path
    default_system: str | None = None
    description: str = ""
    preset: str | None = None
    hub: str | None = None
    aliases: tuple[str, ...] = ()
    weights_of: str | None = None
    is_embedded: bool = False
    public_id: str | None = None
    task: str = "text-generation"
    tags: tuple[str, ...] = ()
    context_window: int | None = None
    public_context_window: int | None = None
    price: Price = FREE
    is_experimental: bool = False
    unsupported: str | None = None

    @property
    def is_installed(self) -> bool:
        """A checkpoint that can be run seems to be there."""
        return self.unsupported is None and holds_checkpoint(self.folder)

    @property
    def can_be_pulled(self) -> bool:
        """It can run here, and it is known where its checkpoint is published."""
        return self.unsupported is None and self.hub is not None

    @property
    def author(self) -> str:
        """Who published it, in the words of its id: `@cf/mistral/…` is mistral's."""
        return self.model_id.lstrip("@").split("/")[-2 if self.model_id.count("/") else 0]


def holds_checkpoint(folder: Path) -> bool:
    """Tell whether a checkpoint seems to be in this folder."""
    return any((folder / name).is_file() for name in ("config.json", "params.json"))
