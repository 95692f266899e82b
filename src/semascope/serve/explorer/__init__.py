"""What the page can ask of one workspace: features, chat, attribution, steering, notes."""
