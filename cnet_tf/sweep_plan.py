"""Plans how flows are swept: which schemes, and how many steps, coarse to fine."""

import dataclasses
from fractions import Fraction

from cnet_tf.bounds import MOST_STEPS
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.tableaus import get_scheme
from cnet_tf.trajectory import in_form

# The name of the scheme of a net whose blocks have different schemes.
MIXED = "mixed"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How some flows are run: (scheme, factor) for every point of the curves.

    Attributes:
        flows: One flow, or all of them.
        scheme: As trained.
        schemes: All schemes, the one as trained first.
        factors: Factors of the curves.
        fine: Scheme and factors of the reference, ascending.
    """

    flows: list
    scheme: str
    schemes: tuple[str, ...]
    factors: tuple[Fraction, ...]
    fine: tuple[str, tuple[Fraction, ...]]

    @classmethod
    def of(cls, flows, schemes, factors):
        own = {flow.scheme for flow in flows}
        scheme = own.pop() if len(own) == 1 else MIXED
        schemes = tuple(dict.fromkeys((scheme, *schemes)))
        best = max(schemes, key=order_of)

        def possible(*factors):
            return tuple(f for f in factors if all(_can(x, f) for x in flows))

        found = possible(*factors)
        if found[-1] == 1:
            raise ValueError(
                "factors: expected one above 1 that yields whole steps from "
                f"{', '.join(str(flow.steps) for flow in flows)}. Received "
                f"{', '.join(map(str, factors))}."
            )
        factors, finest = found, 2 * found[-1]
        for flow in flows:
            if flow.steps * finest > MOST_STEPS:
                raise ValueError(
                    f"factors: expected at most {MOST_STEPS} steps at twice the largest"
                    f" one. Received {finest} x {flow.steps} in {flow.name!r}."
                )
        fine = possible(*(f for f in (finest / 4, finest / 2, finest) if f >= 1))
        return cls(flows, scheme, schemes, factors, (best, fine))

    def points(self) -> list:
        """Returns all (scheme, factor) pairs, those of the reference last."""
        best, fine = self.fine
        curves = [(s, f) for s in self.schemes for f in self.factors]
        return list(dict.fromkeys([*curves, *((best, f) for f in fine)]))

    @property
    def cost(self) -> int:
        """The number of evaluations of rates."""
        return sum(self.cost_of(*point) for point in self.points())

    def cost_of(self, scheme, factor) -> int:
        return sum(
            get_scheme(flow.scheme if scheme == MIXED else scheme).stages
            * int(flow.steps * factor)
            for flow in self.flows
        )


def order_of(scheme) -> int:
    return 0 if scheme == MIXED else get_scheme(scheme).order


def _can(flow, factor) -> bool:
    steps = flow.steps * factor
    if steps.denominator != 1:
        return False
    try:
        flow.manifested(steps=int(steps))
    except ValueError:
        return False
    return True


def cells_of(flow) -> int:
    return flow.basis.cells if isinstance(flow, ContinuousBlock) else flow.nodes


def manifested(flow, scheme, factor):
    """Returns the flow `in_form` with `factor` times its steps."""
    scheme = flow.scheme if scheme == MIXED else scheme
    return in_form(flow, scheme, int(flow.steps * factor))
