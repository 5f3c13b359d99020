"""Other networks, other libraries and other recipes, side by side."""
