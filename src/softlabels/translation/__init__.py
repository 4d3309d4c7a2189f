"""Translation through fairseq: corpora, training, caches and scores."""
