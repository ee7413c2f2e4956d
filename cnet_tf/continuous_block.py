"""A block continuous in depth: dx/dt = eps R(theta(t), x) on [0, 1]."""

import contextlib
from inspect import signature

import keras
from keras import ops

from cnet_tf import recomputed, rolled
from cnet_tf.bounds import MOST_STEPS
from cnet_tf.checks import finite_number, positive_integer
from cnet_tf.lifted_layer import as_tuples, basis_of, lift
from cnet_tf.model_graph import is_graph, layers_of
from cnet_tf.prolongation import refined
from cnet_tf.runge_kutta import integrate
from cnet_tf.series import RESTRICTIONS, ForwardPass, SeriesLayer
from cnet_tf.tableaus import SCHEMES, get_scheme


@keras.saving.register_keras_serializable("cnet_tf")
class ContinuousBlock(keras.layers.Layer):
    """x(1) of dx/dt = eps R(theta(t), x), x(0) the input, by N steps of a scheme.

    R is any Keras layer, or functional or Sequential model, whose output has the shape
    of its input; its weights become series theta(t) in a basis. (scheme, N) is a
    manifestation: blocks that share a rate share its weights, whatever their schemes
    and steps. Euler with N = K steps over piecewise constants and eps = K is a chain of
    K residual units.

    Two blocks of one model may share a rate, too. Files of such a model cannot be read
    back as a whole: make it by the same code, and `load_weights`.

        layers = keras.layers
        unit = keras.Sequential([layers.Dense(16, "tanh"), layers.Dense(16)])
        y = ContinuousBlock(unit, nodes=4, scheme="rk4")(x)

    Args:
        unit: R. It is a pattern: its current weights are not used. A rate that is
            already lifted (`lift`, or another block's `rate`) is used directly, unless
            `nodes` or `basis` is given.
        nodes: K, functions of the basis. Default 1, or the K of a lifted rate.
        scheme: Name of a scheme in `SCHEMES`. Default `"rk4"`.
        steps: N, 1 to 1024. Default: the number of cells of the basis, which is K for
            constants. In half precision the state is rounded after each step, so that
            many steps lose digits: use float32 for more than a few.
        basis: A key of `BASES`. Default `"constant"`, or that of a lifted rate.
        horizon: eps, the time horizon: an int, or a float taken as the exact binary
            rational it is. Default 1, so that refinement, which keeps eps, starts from
            the same equation at any K; a residual net of K units has eps = K.
        restriction: `"average"` (default): with fewer steps than cells, a step reads
            the average of theta over the step. `"quadrature"`: each stage reads the
            average of theta over a part of the step as wide as the weight of the stage;
            the parts add up to the step, and theta still varies within it. `"point"`:
            theta at the stage times, which skips cells.
        unroll: Whether every step has its own part of the graph. Default True, which
            runs fastest; False turns the steps into one loop, which starts faster if
            there are many. Results differ by rounding. Python bool.
        recompute: Whether training keeps only the states at the ends of segments of
            ceil(sqrt N) steps, and the backward pass recomputes the steps in between.
            Default False; True takes memory O(sqrt N) and the time of one more forward
            pass, and changes gradients only by rounding. TensorFlow then has no
            gradients of gradients. Python bool.

    Call arguments:
        x: x(0).
        training: Passed to R.
        mask: Boolean (batch, length), the steps of a sequence that count, or None.
            Keras sets it from the preceding layers. R sees it at every evaluation, and
            so do the layers after the block.

    Shapes: the output has the shape of the input.

    Raises:
        ValueError: unknown scheme, basis or restriction; steps < 1; a horizon that is
            not a finite number; a unit that is a subclassed model, has state of its own
            or no weights, or changes the shape; unroll=False or recompute=True with a
            unit that draws random numbers, regularises activity or (when it is called)
            adds losses.

    Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389, section 3.
    """

    def __init__(
        self,
        unit,
        nodes=None,
        scheme="rk4",
        steps=None,
        basis=None,
        horizon=1,
        restriction="average",
        unroll=True,
        recompute=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(unit, dict):
            with self._scope(unit["config"]["name"]):
                unit = keras.saving.deserialize_keras_object(unit)
        if not isinstance(unit, keras.layers.Layer):
            raise ValueError(
                f"unit: expected a Keras layer or model. Received {unit!r}."
            )
        # Keras makes functions of such names in files of the older format.
        restriction = getattr(restriction, "__name__", restriction)
        if restriction not in RESTRICTIONS:
            raise ValueError(
                f"restriction: expected one of {', '.join(RESTRICTIONS)}. "
                f"Received {restriction!r}."
            )
        found = basis_of(unit)
        if found is None or nodes is not None or basis is not None:
            kind, size = found.key if found else ("constant", 1)
            unit = self._lifted(unit, basis or kind, size if nodes is None else nodes)
        self.rate = unit
        self.basis = basis_of(unit)
        if self.basis is None:
            raise ValueError(
                f"unit: expected layers with weights. Received {unit.name!r}, which "
                "has none that could depend on depth."
            )
        self.scheme = _name_of(scheme)
        self.steps = positive_integer(
            "steps", self.basis.cells if steps is None else steps, MOST_STEPS
        )
        self.horizon = finite_number("horizon", horizon)
        self.restriction = restriction
        self.unroll = unroll
        self.recompute = recompute
        self.supports_masking = True
        if is_graph(self.rate):
            # Keras models pass masks on, but warn that they do not.
            self.rate.supports_masking = True

    @property
    def series(self):
        """The parameter series of the rate, each once, in a fixed order."""
        return self._each_once(lambda layer: layer.series)

    @property
    def series_read(self):
        """The series that this manifestation reads: without those of other members."""
        return self._each_once(lambda layer: layer.series_read)

    def _each_once(self, series_of):
        found = {
            id(series): series
            for layer in layers_of(self.rate)
            if isinstance(layer, SeriesLayer)
            for series in series_of(layer)
        }
        return list(found.values())

    @property
    def nodes(self) -> int:
        """K, functions of the basis."""
        return self.basis.size

    def build(self, input_shape):
        input_shape = as_tuples(input_shape)
        if not self.rate.built:
            self.rate.build(input_shape)
        if is_graph(self.rate) and not _fits(self.rate.input_shape, input_shape):
            raise ValueError(
                f"unit: expected an input of shape {tuple(input_shape)}. Received a "
                f"unit {self.rate.name!r} with inputs {self.rate.input_shape}."
            )
        output_shape = self.rate.compute_output_shape(input_shape)
        if not _fits(tuple(output_shape), input_shape):
            raise ValueError(
                f"unit: expected an output of the input's shape, "
                f"{tuple(input_shape)}. Received {tuple(output_shape)} from "
                f"{self.rate.name!r}: change width and stride outside the block."
            )
        if not self.unroll:
            rolled.check(self.rate)
        if self.recompute:
            rolled.check(self.rate, "recompute: expected False")

    def call(self, x, training=None, mask=None):
        rate = self.rate_in(x, training, mask)
        if not self.unroll:
            return rolled.integrate(self, rate, x, training)
        if self.recompute and training:
            return recomputed.integrate(self, rate, x)
        forward = ForwardPass(self.restriction)
        slope = forward.reading(rate)
        x = integrate(self.scheme, slope, x, self.steps, scale=self.horizon)
        forward.finish()
        return x

    def compute_output_shape(self, input_shape):
        return input_shape

    def rate_in(self, x, training=None, mask=None):
        """Returns R as a function of the state alone, in the type of the state x."""
        # Keras ties masks to tensors: a state is a sum of tensors and has lost its own.
        reads = is_graph(self.rate) or "mask" in signature(self.rate.call).parameters
        masks = {"mask": mask} if mask is not None and reads else {}

        def rate(state):
            return ops.cast(self.rate(state, training=training, **masks), x.dtype)

        return rate

    def manifested(self, **form):
        """Returns a block around the same rate in another form; None keeps a setting.

        Args:
            form: scheme, steps, restriction, unroll, recompute.
        """
        return self._with(self.rate, **form)

    def around(self, change):
        """Returns a block around `change(rate)`; new weights get the block's paths."""
        with self._naming(self.rate):
            rate = change(self.rate)
        return self._with(rate)

    def refined(self, factor, steps):
        """Returns a block with fresh weights on a basis `factor` times as fine."""
        return self.rebased(*refined(self.basis, factor).key, steps)

    def rebased(self, basis, nodes, steps=None):
        """Returns a block with fresh weights in another basis; default N: its cells."""
        rate = self._lifted(self.rate, basis, nodes)
        return self._with(rate, steps=basis_of(rate).cells if steps is None else steps)

    def _lifted(self, unit, basis, nodes):
        with self._naming(unit):
            return lift(unit, basis, nodes, self.compute_dtype)

    def _naming(self, unit):
        # Unlike functional models, Sequential ones name what they build.
        names = () if isinstance(unit, keras.Sequential) else (unit.name,)
        return self._scope(*names)

    @contextlib.contextmanager
    def _scope(self, *names):
        """Gives weights that are made before the block is built the same paths.

        Weights of a functional model, or from a file, are made so early that Keras does
        not yet know their owner.
        """
        with contextlib.ExitStack() as stack:
            for name in (self.name, *names):
                stack.enter_context(keras.name_scope(name))
            yield

    def _with(self, rate, **form):
        # A subclass may have arguments of its own. Only then is `get_config` called,
        # because it serializes the rate.
        plain = type(self) is ContinuousBlock
        config = keras.layers.Layer.get_config(self) if plain else self.get_config()
        form = {k: getattr(self, k) if form.get(k) is None else form[k] for k in _FORM}
        # Not by `from_config`, where Keras wraps our errors in its own words.
        return type(self)(**{**config, "unit": rate, "horizon": self.horizon, **form})

    def get_config(self):
        return {
            **super().get_config(),
            "unit": keras.saving.serialize_keras_object(self.rate),
            "scheme": self.scheme,
            "steps": self.steps,
            "horizon": self.horizon,
            "restriction": self.restriction,
            "unroll": self.unroll,
            "recompute": self.recompute,
        }


# The settings of a manifestation; theta and eps are the same in all.
_FORM = ("scheme", "steps", "restriction", "unroll", "recompute")


def check_call(block):
    """Refuses a block with a `call` of its own where only its steps are used.

    Raises:
        ValueError: the class of the block overrides `call`; names the block.
    """
    if type(block).call is not ContinuousBlock.call:
        raise ValueError(
            f"net: expected blocks that do not override `call`. Received "
            f"{block.name!r}, a {type(block).__name__}: what it does besides its steps "
            "would be left out."
        )


def _name_of(scheme) -> str:
    """Returns the name under which configs know a scheme."""
    found = get_scheme(scheme)
    if found != SCHEMES.get(found.name):
        raise ValueError(
            f"scheme: expected one of {', '.join(SCHEMES)}. Received a tableau "
            f"{found.name!r} that is none of them: add it to `SCHEMES` first."
        )
    return found.name


def _fits(found, expected) -> bool:
    """Returns whether a model's input shape fits the expected one; None fits any."""
    return (
        isinstance(found, tuple)
        and len(found) == len(expected)
        and all(a in (None, b) for a, b in zip(found[1:], expected[1:], strict=True))
    )
