"""What evidence says of features: families, splitting, cross-modality, completeness."""
