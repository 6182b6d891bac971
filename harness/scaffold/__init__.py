"""A printed table (LaTeX, HTML, Markdown, CSV) as a table file whose rows await their methods."""
