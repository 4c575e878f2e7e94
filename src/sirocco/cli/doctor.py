"""`sirocco doctor`: what this machine has, which kernels run on it, and why."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
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
        **_gpus(),
        **_kernels(),
        "home": str(settings.home),
        "database": settings.shown()["database_url"],
        "models here": [entry.model_id for entry in catalog.entries if entry.is_installed],
    }


def _gpus() -> dict[str, Any]:
    """Say which GPUs there are, and what of the engine for them is here."""
    import torch  # noqa: PLC0415 - slow to import
    import torch.distributed as dist  # noqa: PLC0415

    from sirocco.engine.loading import formats_of  # noqa: PLC0415

    packages = {
        "GPU attention": [_package("triton", "gpu"), _package("flashinfer-python", "flashinfer")]
    }
    if not torch.cuda.is_available():
        return {"GPU": "torch finds none", **packages}
    gpus = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    has_nccl = dist.is_available() and dist.is_nccl_available()
    return {
        "GPU": [_gpu(gpu) for gpu in gpus],
        **packages,
        "GPU weights": formats_of(gpus[0]),
        "several GPUs": f"--gpus, at most {len(gpus)}" if has_nccl else "torch comes without NCCL",
    }


def _gpu(device: Any) -> str:
    import torch  # noqa: PLC0415 - slow to import

    major, minor = torch.cuda.get_device_capability(device)
    free, total = (n / 2**30 for n in torch.cuda.mem_get_info(device))
    return (
        f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}; "
        f"{free:.1f} of {total:.1f} GiB free"
    )


def _package(name: str, extra: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} is not installed: pip install 'sirocco[{extra}]'"


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
