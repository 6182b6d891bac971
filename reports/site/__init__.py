"""All tables as a static site: opens from a folder, asks no server and no network for anything."""
