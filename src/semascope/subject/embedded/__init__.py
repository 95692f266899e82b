"""sprite-llava, the model that ships with semascope."""
