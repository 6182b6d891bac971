"""What is wrong with the published numbers themselves: rules over table files and over what papers say around them."""
