"""A verdict for every case, and synthetic CTs to try everything on."""
