"""An export to one file: built, read back, compared with Keras, put in its place."""

import dataclasses
import pathlib
from collections.abc import Callable

from export import calibration, model_card, parity, serving, staging, trained


@dataclasses.dataclass(frozen=True)
class Form:
    """A format of one file.

    Attributes:
        name: In model cards; "tflite" or "onnx".
        build: (source, kind, precision, samples, folder) to the path of the file.
        reload: (path, threads) to its signatures, as functions of an array.
        gate: A precision to the `parity.Gate` it has to pass.
        metadata: A path to the description that `build` put into the file.
        image_dtype: (path, kind) to NumPy's name of the type that it takes.
        cost: (path, signature, image, threads) to its `Cost`, or None.
    """

    name: str
    build: Callable
    reload: Callable
    gate: Callable
    metadata: Callable
    image_dtype: Callable
    cost: Callable | None = None


def export(values, form: Form) -> pathlib.Path:
    """Writes <output>/<manifestation>[-<precision>].<form>, with its model card.

    Args:
        values: Parsed flags.
        form: What to write.

    Returns:
        The path of the file.

    Raises:
        OptionError: bad input.
        ParityError: what was written does not agree with Keras. Nothing is left.
    """
    source, data = trained.load(values)
    samples = None
    if values.precision == "int8":
        samples = calibration.calibration_images(data, values.calibration_images)
    images, labels = trained.first_test_images(data, values.accuracy_images)
    feed = serving.feeder(source.data, values.input)
    suffix = "" if values.precision == "float32" else f"-{values.precision}"
    target = source.output / f"{source.name}{suffix}.{form.name}"
    with staging.workspace(source.output) as temporary:
        file = form.build(source, values.input, values.precision, samples, temporary)

        def cost(signature):
            return form.cost(file, signature, feed(images[:1]), values.threads)

        rows = parity.accept(
            source.candidates(form.reload(file, values.threads), form.cost and cost),
            feed,
            images,
            labels,
            values.parity_images,
            form.gate(values.precision),
            staging.size_on_disk(file),
        )
        card = model_card.card(
            form.name,
            target.name,
            form.metadata(file),
            rows,
            source.run,
            dtype=form.image_dtype(file, values.input),
            license=values.license,
        )
        staging.publish_file(file, target, card)
    print(f"Wrote {target}")
    return target
