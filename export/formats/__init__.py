"""The formats of exports: a record each, in a file of its own; `table` lists them."""
