"""What a run reports at its end."""

from trainers.summary import report


def test_the_report_shows_the_figures():
    text = report(
        {
            "run": "runs/a",
            "test_accuracy": 0.98765,
            "test_loss": 0.1,
            "test_accuracy_of_members": {"euler:1": float("nan")},
            "batch_size": 128,
            "replicas": 4,
            "parameters": 44306,
            "forward_flops_per_image": 850218,
            "images_per_second": 431.4,
            "train_seconds": 90.0,
            "wall_seconds": 120.0,
        }
    )
    for figure in ("98.77 %", "44,306", "850,218", "431", "1.5", "2.0", "runs/a/net"):
        assert figure in text
    assert "euler:1" in text and "not finite" in text
    assert "128 = 32 x 4 replicas" in text
