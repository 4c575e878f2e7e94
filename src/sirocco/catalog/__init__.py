"""Which models there are: ids, templates, limits, prices, and the folders of their checkpoints.

It reads names and small files; it knows neither tensors nor tokens.
"""

from sirocco.catalog.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.catalog.entry import CatalogEntry

__all__ = ["EMBEDDED_MODEL_ID", "Catalog", "CatalogEntry"]
