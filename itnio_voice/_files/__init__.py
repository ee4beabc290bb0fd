"""Files that appear under their names when they are complete, and downloads into them."""
