"""One file per layout on disk; only here do offsets, zips and pickles exist. See `opening` and `creating`."""
