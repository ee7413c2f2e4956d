"""Names of manifestations, `scheme:N`: by them the members of a net are known."""

from cnet_tf.tableaus import get_scheme


def member_name(scheme: str, steps: int) -> str:
    """The name of a manifestation: `"euler:1"`."""
    return f"{get_scheme(scheme).name}:{steps}"


def manifestation_of(name: str) -> tuple[str, int]:
    """(scheme, N) of a name.

    Raises:
        ValueError: it is not `scheme:N` with a known scheme and N >= 1.
    """
    scheme, _, steps = str(name).partition(":")
    if not steps.isascii() or not steps.isdigit() or int(steps) < 1:
        raise ValueError(
            f"members: expected scheme:N, such as 'euler:1'. Received {name!r}."
        )
    return get_scheme(scheme).name, int(steps)


def evaluations(name: str) -> int:
    """Evaluations of the rate in a block of that manifestation, its cost."""
    scheme, steps = manifestation_of(name)
    return get_scheme(scheme).stages * steps
