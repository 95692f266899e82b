"""Truth for text: programs that find a known concept, such as years or past-tense verbs."""
