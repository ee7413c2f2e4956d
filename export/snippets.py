"""Example calls of an artefact for its model card: names for `Format.usage`.

A snippet is a complete program that runs as printed, in the folder of the card.
"""

import math
import string

from export.formats.record import Format, Tensor
from export.runtimes import SIGNATURE
from export.serving import INPUTS

# C++ type names by NumPy's.
_CPP = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}

# TensorFlow in C++: an input of numbers, and one of files.
_NUMBERS = """\
tensorflow::Tensor image(input.dtype(), {1, $shape});
  image.flat<$type>().setZero();  // Your image."""
_FILE = """\
std::string file;  // An image of the right size.
  TF_CHECK_OK(tensorflow::ReadFileToString(tensorflow::Env::Default(), "image.png",
                                           &file));
  tensorflow::Tensor image(input.dtype(), {1});
  image.flat<tensorflow::tstring>()(0) = file;"""

# Python: the uint8 images that a snippet starts from, and files made from them.
_PIXELS = 'pixels = np.zeros(($batch, $shape), "uint8")  # Your images.'
_ENCODED = """\
image = [tf.io.encode_png(each).numpy() for each in pixels]  # Or read files."""


def usage(form: Format, description: dict, tensors: dict, file: str, model: str):
    """Returns the snippets of an artefact by language.

    Args:
        form: Format of the artefact.
        description: From `describe`.
        tensors: From `Format.tensors`.
        file: Name under which the artefact is used.
        model: Name of the model in TF Serving.
    """
    known = names(description, tensors, file, model)
    return {
        language: string.Template(text).substitute(known)
        for language, text in form.usage.items()
    }


def names(description: dict, tensors: dict, file: str, model: str) -> dict[str, str]:
    """Returns what a snippet may refer to as `$name`; see `usage`.

    Returns:
        file, model, signature.
        batch, shape, size, dtype: Of the input: its batch size, the shape of an image
            as numbers with commas, their product, and NumPy's name of the type.
        pixels, image: Lines of Python that make uint8 images and, from those, the
            input.
        results: Lines of Python that print all `outputs` as real numbers.
        modules, instance: The Python modules that `instance` needs, and one image as a
            Python expression for JSON.
        tensor: C++ that makes the input for TensorFlow.
        output: Name of the first output.
        type, output_type: C++ types of image and output.
        number: C++ for the i-th real number of the output, read from `values`.
    """
    image, first = tensors["image"], tensors[description["outputs"][0]]
    height, width, channels = description["image_shape"]
    encoded = INPUTS[description["input"]].encoded
    known = {
        "file": file,
        "model": model,
        "signature": SIGNATURE,
        "batch": str(description["batch"] or 1),
        "shape": f"{height}, {width}, {channels}",
        "size": str(math.prod(description["image_shape"])),
        "dtype": image.dtype,
        "image": _ENCODED if encoded else _image(description, image),
        "results": "\n".join(
            f'print("{name}", {_real(tensors[name])})'
            for name in description["outputs"]
        ),
        "modules": "base64, json" if encoded else "json",
        "instance": '{"b64": base64.b64encode(open("image.png", "rb").read()).decode()}'
        if encoded
        else f"[[[0] * {channels}] * {width}] * {height}",
        "output": first.name,
        "type": _CPP.get(image.dtype, ""),
        "output_type": _CPP[first.dtype],
        "number": _scaled(first, "values[i]", "values[i]"),
    }
    known["pixels"] = string.Template(_PIXELS).substitute(known)
    known["tensor"] = string.Template(_FILE if encoded else _NUMBERS).substitute(known)
    return known


def _image(description, tensor: Tensor) -> str:
    """Returns lines that make `image` from `pixels`: normalise, quantise, cast."""
    steps = []
    if not INPUTS[description["input"]].raw:
        mean, std = (description["normalization"][key] for key in ("mean", "std"))
        steps.append(f"image = (pixels / 255 - {_plain(mean)}) / {_plain(std)}")
    if tensor.dtype == "int8":
        levels = f"np.round(image / {tensor.scale:.9g}) + {tensor.zero_point}"
        steps.append(f"image = np.clip({levels}, -128, 127)")
    source = "image" if steps else "pixels"
    return "\n".join([*steps, f'image = {source}.astype("{tensor.dtype}")'])


def _plain(values):
    """Returns one number if all channels have the same, else all numbers."""
    return values[0] if len(set(values)) == 1 else values


def _real(tensor: Tensor) -> str:
    """Returns Python for an output as real numbers."""
    value = f'outputs["{tensor.name}"]'
    return _scaled(tensor, value, f'{value}.astype("float32")')


def _scaled(tensor: Tensor, plain: str, wide: str) -> str:
    """Returns `plain`, or code that turns the integer `wide` into a real number."""
    if not tensor.scale:
        return plain
    sign, zero = "-+"[tensor.zero_point < 0], abs(tensor.zero_point)
    return f"{tensor.scale:.9g} * ({wide} {sign} {zero})"
