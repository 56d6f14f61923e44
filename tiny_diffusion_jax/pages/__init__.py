"""Pages to open in a browser: one self-contained file each, with no server and no network."""
