"""Names of manifestations, `scheme:N`, which identify the members of a net.

Where blocks differ in N, the name lists one N per block: `euler:3,2,2`.
"""

from cnet_tf.tableaus import get_scheme


def member_name(scheme: str, steps) -> str:
    """Returns the name of a manifestation, such as `"euler:1"`.

    Args:
        scheme: A key of `SCHEMES`.
        steps: N, or one per block; if all are equal, the name has one.
    """
    counts = [steps] if isinstance(steps, int) else steps
    counts = counts if len(set(counts)) > 1 else counts[:1]
    return f"{get_scheme(scheme).name}:{','.join(map(str, counts))}"


def manifestation_of(name: str) -> tuple:
    """Returns (scheme, N) of a name, or (scheme, (N, .., N)), one N per block.

    Raises:
        ValueError: it is not `scheme:N` with a known scheme and N >= 1.
    """
    scheme, _, steps = str(name).partition(":")
    counts = steps.split(",")
    if not all(n.isascii() and n.isdigit() and int(n) for n in counts):
        raise ValueError(
            f"members: expected scheme:N, such as 'euler:1'. Received {name!r}."
        )
    counts = tuple(map(int, counts))
    return get_scheme(scheme).name, counts if len(counts) > 1 else counts[0]


def form_of(name: str, block: int | None = None) -> tuple[str, int]:
    """Returns (scheme, N) of one block of that manifestation.

    Args:
        name: Name of the manifestation.
        block: Number of the block, if N differs between blocks. Default: the block
            with the most steps.
    """
    scheme, steps = manifestation_of(name)
    if not isinstance(steps, int):
        steps = max(steps) if block is None else steps[block]
    return scheme, steps


def evaluations(name: str, block: int | None = None) -> int:
    """Counts the rate evaluations of a block (see `form_of`), which are its cost."""
    scheme, steps = form_of(name, block)
    return get_scheme(scheme).stages * steps
