"""Which models there are: ids, templates, and the folders of their checkpoints.

It reads names and small JSON files; it knows neither tensors nor tokens.
"""

from sirocco.catalog.catalog import EMBEDDED_MODEL_ID, Catalog, CatalogEntry

__all__ = ["EMBEDDED_MODEL_ID", "Catalog", "CatalogEntry"]
