"""BOSH manifests as `bosh interpolate` treats them: ops files, variables, vars stores.

`interpolate` is the whole of it; the rest are its parts. Texts, error texts included, are those of
`bosh`, to the byte.
"""

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.interpolation import interpolate
from bosh_interpolate.ops_files import Operation, read_ops_file
from bosh_interpolate.paths import Pointer
from bosh_interpolate.reading import load, load_variables
from bosh_interpolate.values import Tree, Variables
from bosh_interpolate.variables import Definition
from bosh_interpolate.vars_stores import FileStore, MemoryStore, VarsStore
from bosh_interpolate.writing import emit

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
    "read_ops_file",
]
