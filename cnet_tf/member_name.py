"""Names of manifestations, `scheme:N`: by them the members of a net are known.

Where blocks differ in N it stands for each of them: `euler:3,2,2`.
"""

from cnet_tf.tableaus import get_scheme


def member_name(scheme: str, steps) -> str:
    """The name of a manifestation: `"euler:1"`.

    Args:
        scheme: A key of `SCHEMES`.
        steps: N, or one a block; equal ones are one.
    """
    counts = [steps] if isinstance(steps, int) else steps
    counts = counts if len(set(counts)) > 1 else counts[:1]
    return f"{get_scheme(scheme).name}:{','.join(map(str, counts))}"


def manifestation_of(name: str) -> tuple:
    """(scheme, N) of a name, or (scheme, (N, .., N)), one a block.

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
    """(scheme, N) of one block of that manifestation.

    Args:
        name: Of the manifestation.
        block: Which block, where its N is one of several. Default: that of most steps.
    """
    scheme, steps = manifestation_of(name)
    if not isinstance(steps, int):
        steps = max(steps) if block is None else steps[block]
    return scheme, steps


def evaluations(name: str, block: int | None = None) -> int:
    """Evaluations of the rate in a block (see `form_of`), its cost."""
    scheme, steps = form_of(name, block)
    return get_scheme(scheme).stages * steps
