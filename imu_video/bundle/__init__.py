"""The exported encoder: its input specification, weights, model card and projectors; nothing here trains."""
