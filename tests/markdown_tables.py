"""Reads Markdown tables."""


def cells_of(text) -> list[list[str]]:
    """Returns the cells of all tables in a text, line by line, without rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return [row for row in cells if not all(cell.strip("-:") == "" for cell in row)]
