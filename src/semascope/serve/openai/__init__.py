"""The OpenAI-compatible endpoint, ``/v1``."""
