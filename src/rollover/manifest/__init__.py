"""BOSH manifests as `bosh interpolate` treats them: ops files, variables, vars stores.

`interpolate` is the whole of it; the rest are its parts. Texts, error texts included, are those of
`bosh`, to the byte.
"""

from rollover.manifest.definitions import Definition
from rollover.manifest.file_store import FileStore
from rollover.manifest.interpolation import interpolate
from rollover.manifest.ops_file import operations
from rollover.manifest.patching import Operation
from rollover.manifest.pointer import Pointer
from rollover.manifest.reading import load, load_variables
from rollover.manifest.trouble import ManifestError
from rollover.manifest.values import Tree, Variables
from rollover.manifest.vars_store import MemoryStore, VarsStore
from rollover.manifest.writing import emit

__all__ = [
    "Definition",
    "FileStore",
    "ManifestError",
    "MemoryStore",
    "Operation",
    "Pointer",
    "Tree",
    "Variables",
    "VarsStore",
    "emit",
    "interpolate",
    "load",
    "load_variables",
    "operations",
]
