"""Commands that say what scores are worth: calibrate, agree, evaluate."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from factory.cli.app import JSON, command, say


@command("calibrate")
@click.argument("run")
@click.option(
    "--labels",
    metavar="FILE",
    help="image_key, view, candidate, label (of sentences: start too); Parquet, CSV or JSONL. 'review': those of factory review.",
)
@click.option("--truth", type=click.Choice(["demo"]), help="Who labels every sentence, instead of a file.")
@click.option(
    "--target-precision", type=float, required=True, metavar="P", help="Share of right captions among the kept ones."
)
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the promise and of every interval.")
@click.option("--filter", "filter_name", metavar="NAME", help="Calibrate this filter; without it, all are compared.")
@click.option("--stack", is_flag=True, help="Calibrate one score fitted from all filters.")
@click.option(
    "--method", type=click.Choice(["logistic", "isotonic"]), default="logistic", show_default=True, help="Of the stack."
)
@click.option("--name", metavar="NAME", help="Name of the calibration.  [default: the filter's, or stack]")
@JSON
def calibrate_command(
    run: str,
    labels: str | None,
    truth: str | None,
    target_precision: float,
    confidence: float,
    filter_name: str | None,
    stack: bool,
    method: Any,
    name: str | None,
    as_json: bool,
) -> None:
    """Find the threshold that keeps a promised precision, from captions labelled right or wrong.

    Labels that name a sentence by its `start` in the caption calibrate sentences: a caption is then as good as its least one.

    Writes calibrations/NAME-vN.json into the run, which a recipe names as calibration:NAME-vN. Ends with exit code 1 where
    the labels do not prove the precision, and says how many would.

    \b
    Example:
      factory calibrate runs/quickstart --labels labels.parquet --target-precision 0.95 --filter token_confidence
    """
    from factory.calibration.calibrate_run import calibrate_run
    from factory.runs.run import find_run

    if (labels is None) == (truth is None):
        raise click.UsageError("give the labels: --labels FILE, or --truth demo for a run over the demo world")
    if stack and filter_name:
        raise click.UsageError("--filter is one score, --stack is made of all; give one of them")
    made = calibrate_run(
        find_run(run), labels, target_precision, confidence, filter_name, method if stack else None, name
    )
    say(json.dumps(made.summary()) if as_json else "\n".join(made.lines()))
    if made.reference is not None and made.calibrations[0].threshold is None:
        sys.exit(1)


@command("agree")
@click.argument("run")
@click.option("--out", metavar="FILE", help="Write every question on which they differ (.csv or .parquet).")
@JSON
def agree_command(run: str, out: str | None, as_json: bool) -> None:
    """Compare the judges of a run that answered the same yes/no questions: Cohen's kappa, yes-rates, where they differ.

    A second judge answers where the recipe runs again in the same directory with another judge; nothing is captioned again.

    \b
    Example:
      factory run one.yaml --out runs/web        # filters: [vqa_faithfulness: {judge: org/one}]
      factory run another.yaml --out runs/web    # filters: [vqa_faithfulness: {judge: org/another}]
      factory agree runs/web --out differ.csv
    """
    from factory.judging.agreement import agree
    from factory.runs.run import find_run

    found = agree(find_run(run), out)
    if as_json:
        say(json.dumps([one.as_json() for one in found]))
        return
    say("\n\n".join("\n".join(one.lines()) for one in found))
    if out is not None:
        say(f"differ   {out} ({sum(one.only_first + one.only_second for one in found):,} answers)")


@command("evaluate")
@click.argument("run", metavar="RUN|CAPTIONS")
@click.option(
    "--truth", type=click.Choice(["demo"]), default="demo", show_default=True, help="Who knows what is right."
)
@click.option(
    "--references", metavar="FILE", help="Reference captions or object labels by image_key; Parquet, CSV or JSONL."
)
@click.option("--synonyms", metavar="FILE", help="With --references: words of each object.  [default: MSCOCO's 80]")
@click.option(
    "--similarity", metavar="MODEL", help="With --references: a text encoder or fastText .bin to compare names."
)
@click.option("--revision", metavar="COMMIT", help="Of a --similarity model on the Hub.")
@click.option("--out", metavar="FILE", help="With --references: where a table with a row per caption goes.")
@click.option("--worst", type=click.IntRange(min=0), default=5, show_default=True, help="Worst captions to show.")
@JSON
def evaluate_command(
    run: str, truth: str, references: str | None, as_json: bool, worst: int, **given: str | None
) -> None:
    """Compare captions with the truth: of the demo world sentence by sentence, else by reference captions or labels.

    On the demo world it tells the share of sentences that are right before and after selection, errors by type, and how well
    each filter tells right sentences from wrong ones (AUROC, precision of the best-scored part), with intervals. With
    --references it tells CHAIR's rates of hallucinated objects, the recall of objects, and how well the objects of each
    caption match those of its references; captions may then be a file with image_key and text.

    \b
    Example:
      factory evaluate runs/quickstart --truth demo
      factory evaluate captions.jsonl --references references.jsonl --out objects.parquet
    """
    if references is not None:
        from factory.evaluation.by_references import evaluate_references

        compared = evaluate_references(run, references, worst=worst, **given)
        say(json.dumps(compared.as_json()) if as_json else "\n".join(compared.lines()))
        return
    if set_ := [f"--{name}" for name, value in given.items() if value is not None]:
        raise click.UsageError(f"{', '.join(set_)} needs --references FILE")
    from factory.evaluation.by_truth import evaluate
    from factory.runs.run import find_run
    from factory.work.work import reopen

    found = evaluate(reopen(find_run(run)))
    say(json.dumps(found.as_json()) if as_json else "\n".join(found.lines()))
