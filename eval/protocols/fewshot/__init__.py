"""Few-shot classification: K labelled windows per class, disjoint support and query subjects, paired references."""
