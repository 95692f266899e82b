"""Evidence on disk: exemplars, counter-examples, histograms, samples."""
