"""Which image to annotate next: `segexp suggest`."""
