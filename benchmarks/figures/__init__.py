"""Pictures of what a model does with a user's own images: `python -m benchmarks.figures`.

`sheet` lays out pictures with labels; `scene` opens the model and the images; the other modules draw one figure each.
"""
