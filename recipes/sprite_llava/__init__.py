"""How the embedded model was made: a tower that names patches, a projector that begins with
words, a language model that learns to read them. Each module is one step; see README.md here."""
