"""Label files: their formats, joining them to images, writing them."""
