"""Operations on finished data folders: merge, re-split, fetch, summary; no recordings are read, no teacher runs."""
