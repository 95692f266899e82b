"""Videos as the processors of each family take them."""
