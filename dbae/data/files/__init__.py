"""Where the bytes of images lie: a folder, a zip, an LMDB."""
