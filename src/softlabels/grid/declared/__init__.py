"""What is declared of data sets and corpora, so that a plan needs no data."""
