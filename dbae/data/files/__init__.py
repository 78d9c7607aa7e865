"""Where the bytes of images lie: a `folder`, a `zip`, an `lmdb`; each is opened as `ImageFiles` (`images`).

`listing` says which files are images, `paths` what a word of the command line may be a path of.
"""

from dbae.data.files.folder import FolderFiles, file_state, open_folder
from dbae.data.files.images import Exif, Files, ImageFiles, report_turned
from dbae.data.files.listing import is_image
from dbae.data.files.lmdb import LmdbFiles, import_lmdb, is_lmdb, open_lmdb
from dbae.data.files.paths import exists, expanded, printable, require_ordinary, shown, status
from dbae.data.files.zip import ZipFiles, open_zip

__all__ = [
    "Exif",
    "Files",
    "FolderFiles",
    "ImageFiles",
    "LmdbFiles",
    "ZipFiles",
    "exists",
    "expanded",
    "file_state",
    "import_lmdb",
    "is_image",
    "is_lmdb",
    "open_folder",
    "open_lmdb",
    "open_zip",
    "printable",
    "report_turned",
    "require_ordinary",
    "shown",
    "status",
]
