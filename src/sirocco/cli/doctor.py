"""`sirocco doctor`: what this machine has, which kernels run on it, and why."""

import json
import os
import platform
from typing import Any

from sirocco.cli.output import AsJson


def doctor(as_json: AsJson = False) -> None:
    """Say what Sirocco finds here: kernels, device, memory, models, database."""
    findings = _findings()
    if as_json:
        print(json.dumps(findings))
        return
    width = max(map(len, findings))
    for name, value in findings.items():
        print(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")


def _findings() -> dict[str, Any]:
    import torch  # noqa: PLC0415 - slow to import

    from sirocco import __version__  # noqa: PLC0415
    from sirocco.catalog import Catalog  # noqa: PLC0415
    from sirocco.engine.config import free_memory_bytes  # noqa: PLC0415
    from sirocco.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    catalog = Catalog(settings.models_folder, settings.models, settings.catalog_file)
    return {
        "sirocco": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "free memory": f"{free_memory_bytes(torch.device('cpu')) / 2**30:.1f} GiB",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "torch finds none",
        **_kernels(),
        "home": str(settings.home),
        "database": settings.shown()["database_url"],
        "models here": [entry.model_id for entry in catalog.entries if entry.is_installed],
    }


def _kernels() -> dict[str, Any]:
    from sirocco import native  # noqa: PLC0415

    if not native.is_built():
        return {"kernels": "not built: models run on torch's own operators, and q4, q8 cannot"}
    fastest, *others = native.isas()
    return {
        "kernels": f"{fastest}, the fastest this processor runs; also built: {', '.join(others)}",
        "CPU features": sorted(native.cpu_features()),
        "kernel threads": native.n_threads(),
    }
