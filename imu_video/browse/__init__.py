"""A data folder as one HTML page to look at samples: clip, traces and skeleton in step; reads shards, never writes."""
