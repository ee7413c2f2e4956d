"""Export formats, one record per file; `table` lists them."""
