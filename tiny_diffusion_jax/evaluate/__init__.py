"""Numbers, each beside its floor: of clouds of points, of distributions over sets."""
