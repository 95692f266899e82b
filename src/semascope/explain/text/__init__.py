"""Text as terms: excerpts, categories, hypernyms, languages."""
