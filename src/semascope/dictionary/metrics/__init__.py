"""How good a dictionary is: FVU, L0, dead latents, CE recovered, stability."""
