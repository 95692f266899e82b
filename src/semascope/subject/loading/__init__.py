"""From a name or a folder to a model whose weights are all there."""
