"""Every class of Keras is in the table, and every class of the table is tested."""

import inspect

import keras
from optimizer_zoo import ZOO, trained

from cnet_tf.slot_rules import RULES
from cnet_tf.slot_table import ANY, SLOTS, slot_lists


def test_the_table_knows_every_optimizer_of_keras():
    base = keras.optimizers.Optimizer
    classes = {
        kind
        for _, kind in inspect.getmembers(keras.optimizers, inspect.isclass)
        if issubclass(kind, base) and kind is not base
    }
    assert classes == set(SLOTS)
    assert {kind.__name__ for kind in classes} == {name.split()[0] for name in ZOO}


def test_every_rule_is_defined_and_every_slot_exists_in_some_optimizer():
    used = {rule for table in (ANY, *SLOTS.values()) for rule in table.values()}
    assert used == {"copy", *RULES}
    for kind, table in SLOTS.items():
        made = [ZOO[name]() for name in ZOO if name.split()[0] == kind.__name__]
        for optimizer in made:
            trained(optimizer, updates=0)
        found = {n for optimizer in made for n in table if hasattr(optimizer, n)}
        assert found == set(table)


def test_slots_are_in_the_order_of_the_weights():
    adam = ZOO["Adam"](use_ema=True)
    old = trained(adam)
    lists = slot_lists(adam)
    assert set(lists) == {
        "_momentums",
        "_velocities",
        "_model_variables_moving_average",
    }
    for slots in lists.values():
        assert [s.shape for s in slots] == [v.shape for v in old]
