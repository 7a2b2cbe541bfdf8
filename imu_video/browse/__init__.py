"""A data folder as one HTML page on which a person looks at samples: clip, traces and skeleton in step; reads, never writes shards."""
