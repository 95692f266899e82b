"""What each stage read and what it left out, counted."""
