"""Below all adapter families: the transport to other people's servers."""
