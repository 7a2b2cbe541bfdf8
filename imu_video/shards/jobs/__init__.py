"""Long work that survives a kill: items over workers, finished pieces, the last rename; what is made, others say."""
