"""Stage `evaluate`: fused model, controls and baselines on the test split. Only this stage opens its features."""

from __future__ import annotations

from lsgmer.core.device import set_threads
from lsgmer.core.paths import Workspace
from lsgmer.core.stage import run_stage
from lsgmer.evaluation.challenger import Challenger, compare
from lsgmer.evaluation.measure import check, heard_before, measure, prior, score, with_words, write
from lsgmer.evaluation.params import EvaluationSections
from lsgmer.evaluation.robustness import measure_robustness
from lsgmer.features.store import FeatureSplit
from lsgmer.manifests.validated import ValidatedManifest
from lsgmer.model.train_card import load_card

Needs = EvaluationSections
WORST = 3  # perturbations that are printed


def run(workspace: Workspace, params: Needs) -> None:
    """Measure every model on data/features/test and write data/evaluate.

    Raises LsgmerError when test features, model, controls and validated manifest do not belong together.
    """
    set_threads(params.runtime.threads)
    test = FeatureSplit.load(workspace.data("features") / "test")
    card = load_card(workspace.data("train"))
    manifest = ValidatedManifest.load(workspace.data("validate"))
    check(test, card, manifest)
    notes = heard_before(test, card)
    manifest = with_words(manifest, test)
    models = score(workspace, params, test, prior(manifest), notes)
    against = compare(workspace, params, manifest, Challenger(card, models["fused"].guess, test))
    robustness = measure_robustness(workspace, params, manifest, notes)
    metrics = measure(test, models, card, params, against, robustness, notes)
    write(workspace.data("evaluate"), test, models, metrics, params)
    for name, found in metrics.models.items():
        print(f"{name:9} balanced accuracy {found.balanced_accuracy.value:.3f}, accuracy {found.accuracy.value:.3f}")
    for effect in sorted(metrics.robustness, key=lambda effect: effect.unchanged)[:WORST]:
        print(f"{effect.perturbation}: {effect.unchanged:.0%} of decisions unchanged, UA {effect.change.value:+.3f}")


def main() -> None:
    """Run the stage in the current folder."""
    run_stage("evaluate", run, Needs)


if __name__ == "__main__":
    main()
