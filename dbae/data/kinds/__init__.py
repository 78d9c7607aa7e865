"""Every KIND of data: one file each, which exports KINDS, and one line here.

files                     folder, zip, lmdb: of whoever
celeba ... lsun           as their authors publish them (`published`)
dsprites ... cars3d       the same, whose factors are known (`known`)
faces, disks              drawn by us
"""

from dbae.data.kinds import cars3d, celeba, celebahq, disks, dsprites, faces, ffhq, files, lfw, lsun, mpi3d, shapes3d
from dbae.data.kinds.kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: kind
    for module in (faces, files, celeba, celebahq, ffhq, lfw, lsun, disks, dsprites, shapes3d, mpi3d, cars3d)
    for kind in module.KINDS
}
"""Every KIND of the grammar."""
