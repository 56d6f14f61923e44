"""HTML pages, each in one self-contained file that needs no server and no network."""
