"""All tables as a static site: opens from a folder, needs no server and no network."""
