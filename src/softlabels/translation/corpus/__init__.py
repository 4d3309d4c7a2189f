"""Parallel corpora: read, cleaned, segmented and made binary for fairseq."""
