"""Layers that the task packages share: 3-D and 1-D ResNet front-ends, attention in its published variants, conformer
and transformer blocks, the decoder with its key/value cache, and masks.

State-dict keys are those of the published models, misspelt ones included, so that converters are renames.
"""
