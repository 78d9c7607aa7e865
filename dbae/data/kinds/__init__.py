"""Every KIND of data: one file each, which exports KINDS, and one line here.

files                     folder, zip, lmdb: of whoever
celeba ... lsun           as their authors publish them (`published`)
faces, disks              drawn by us
"""

from dbae.data.kinds import celeba, celebahq, disks, faces, ffhq, files, lfw, lsun
from dbae.data.kinds.kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: kind for module in (faces, files, celeba, celebahq, ffhq, lfw, lsun, disks) for kind in module.KINDS
}
"""Every KIND of the grammar."""
