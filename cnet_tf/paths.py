"""Names of the layers and variables of a model, given by their position in it.

For example `block_0/rate/conv_1/kernel`: names do not depend on the name of the model,
nor on what else was built in the same process.
"""

from cnet_tf.model_graph import children


def named_layers(model) -> dict:
    """Returns all layers in a model by path, parents first; the model itself is "".

    A layer that occurs twice is listed once, at its first place.
    """
    found, seen = {}, set()

    def visit(layer, path):
        seen.add(id(layer))
        found[_unused(path, found)] = layer
        for child in children(layer):
            if id(child) not in seen:
                visit(child, f"{path}/{child.name}".removeprefix("/"))

    visit(model, "")
    return found


def named_variables(model) -> dict:
    """Returns the variables of a model by path, in the order of `model.variables`."""
    paths = {}
    # Layers also hold the variables of their parts: the innermost one gives the name.
    for path, layer in reversed(named_layers(model).items()):
        taken = set()
        for variable in layer.variables:
            if id(variable) not in paths:
                name = _unused(f"{path}/{variable.name}".removeprefix("/"), taken)
                taken.add(name)
                paths[id(variable)] = name
    return {paths[id(variable)]: variable for variable in model.variables}


def _unused(name, taken):
    number, unused = 0, name
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    return unused
