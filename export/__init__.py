"""Exports of trained nets: one script per format, each checked against Keras.

    python export/saved_model.py --steps=2
    python export/tflite.py --scheme=euler --steps=4

A script writes a manifestation to a temporary folder, reads it back with the runtime of
its format, compares the logits, and only then publishes it.
"""
