"""BOSH manifests as `bosh interpolate` treats them: ops files, variables, vars stores.

`interpolate` is the whole of it; the rest are its parts. Texts, error texts included, are those of
`bosh`, to the byte.
"""

from rollover.manifest.file_store import FileStore
from rollover.manifest.interpolation import interpolate
from rollover.manifest.ops_file import operations
from rollover.manifest.reading import load, load_variables
from rollover.manifest.trouble import ManifestError
from rollover.manifest.vars_store import MemoryStore, VarsStore
from rollover.manifest.writing import emit

__all__ = [
    "FileStore",
    "ManifestError",
    "MemoryStore",
    "VarsStore",
    "emit",
    "interpolate",
    "load",
    "load_variables",
    "operations",
]
