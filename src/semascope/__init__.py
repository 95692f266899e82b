"""semascope looks inside large multimodal models and says what their features are, mean and do."""

__version__ = "0.1.0"
