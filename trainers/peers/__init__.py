"""Other libraries that train the same nets, and how they are compared with ours."""
