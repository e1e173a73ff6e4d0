"""Who reads what lies at a path: a module for each format, imported only when it is asked for."""

import importlib

from launchers.errors import UserError
from vit_sweep.data.prepare.source import Sources, Tell
from vit_sweep.data.request import Kind, Request

_MODULES = {
    Kind.IMAGEFOLDER: "image_folder",
    Kind.HDF5: "hdf5",
    Kind.WEBDATASET: "shards",
    Kind.HUGGINGFACE: "arrow",
    Kind.MEDMNIST: "medical",
    Kind.GTDB: "pages",
    Kind.CAPTIONS: "captions",
}


def requested(request: Request, tell: Tell) -> Sources:
    """What `request` names, listed and checked; raises `UserError`, also where a package is missing that reads it."""
    try:
        module = importlib.import_module(f"vit_sweep.data.prepare.{_MODULES[request.source]}")
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        raise UserError(
            f"data={request.name}: {package}, which reads {request.source.value}, is not installed here: "
            "pip install 'vit_sweep[data]'"
        ) from None
    sources: Sources = module.requested(request, tell)
    return sources
