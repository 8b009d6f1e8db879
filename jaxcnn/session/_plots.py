"""The figures that a finished training leaves in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn import runs
    from jaxcnn.session._examples import Examples


def draw(recorder: runs.Recorder, examples: Examples, predictions: Any) -> None:
    """Write the learning curve, and the confusion matrix of the test images' predicted classes, (N,)."""
    from jaxcnn import plots, runs

    config, tested = recorder.config, recorder.metrics[-1]
    name = f"{config['net']['name']} on {config['data']['name']}"
    held_out = runs.held_out(config["data"]["name"])
    curve = plots.learning_curve(recorder.metrics, title=name, held_out=held_out)
    confusion = plots.confusion_matrix(
        examples.test.labels,
        predictions,
        examples.classes,
        title=f"{name}, {held_out}: {tested['test_accuracy']:.2%} of {len(predictions):,}",
    )
    for file, figure in (("learning_curve.png", curve), ("confusion_matrix.png", confusion)):
        runs.write_whole(recorder.folder / file, plots.png(figure))
