"""What a run tells at its end."""


def report(summary: dict) -> str:
    """The summary of `loop.fit` as a few lines of text."""
    rows = [
        ("test accuracy", f"{100 * summary['test_accuracy']:.2f} %"),
        ("test loss", f"{summary['test_loss']:.4f}"),
        ("trainable parameters", f"{summary['parameters']:,}"),
        ("FLOPs per image, forward", f"{summary['forward_flops_per_image']:,}"),
        ("images/s, training", f"{summary['images_per_second']:,.0f}"),
        ("minutes, training", f"{summary['train_seconds'] / 60:.1f}"),
        ("minutes, in all", f"{summary['wall_seconds'] / 60:.1f}"),
        ("net", f"{summary['run']}/net"),
        ("log", f"{summary['run']}/log.csv"),
        ("curves", f"tensorboard --logdir {summary['run']}/tensorboard"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
