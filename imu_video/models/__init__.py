"""The model that is trained, its projection heads, and projectors saved beside an exported encoder."""
