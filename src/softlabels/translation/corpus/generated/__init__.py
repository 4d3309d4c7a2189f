"""A generated English-German corpus: lexicon, the grammar of both languages, and what is said."""
