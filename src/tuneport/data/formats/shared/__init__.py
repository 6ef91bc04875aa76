"""Parts that several formats write alike: tools and turns."""
