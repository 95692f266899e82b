"""The verbs ``semascope evaluate …``."""
