"""The commands: parse, call one function, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import click

from factory.errors import FactoryError

RECIPE = click.argument("recipe", metavar="RECIPE|RELEASE")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change a value of the recipe; may be repeated."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
OUT = click.option(
    "--out", metavar="DIR", help="Run directory, local or any fsspec URL.  [default: runs/<recipe name>]"
)
EXPORT_FORMATS = ("sft", "messages", "llava", "sharegpt", "webdataset", "text", "energon")  # exports.formats.FORMATS
LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows of the source.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="caption-factory", prog_name="factory")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Caption images in bulk, score the captions, release a versioned dataset, train on it, and again.

    \b
    Example:
      factory run recipes/quickstart.yaml
    """
    context.obj = {"debug": debug}


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose errors are one message on stderr and an exit code."""

    def register(function: Callable[..., None]) -> click.Command:
        @cli.command(name)
        @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
        @click.pass_context
        @wraps(function)
        def guarded(context: click.Context, /, debug: bool, **values: Any) -> None:
            try:
                function(**values)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, (click.exceptions.ClickException, click.exceptions.Exit, click.Abort)):
                    raise
                if debug or context.obj["debug"]:
                    raise
                text, code = explain(error)
                click.echo(text, err=True)
                sys.exit(code)

        return guarded

    return register


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user about an error, and the exit code."""
    import errno

    from exports.release import ReleaseError
    from filters import FilterError

    if isinstance(error, KeyboardInterrupt):
        return "\nstopped; what is finished is kept. Run the same command again to go on.", 130
    if isinstance(error, FactoryError):
        return f"error: {error}", error.exit_code
    if isinstance(error, (ReleaseError, FilterError)):
        return f"error: {error}", 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"error: no space left on the disk of {error.filename or 'the run, the release or the temporary files'}; make room "
            "and run again: what is finished is kept",
            1,
        )
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            f"error: {error.filename or 'the run directory'} cannot be written ({error.strerror}); choose another --out",
            1,
        )
    if isinstance(error, OSError):
        return f"error: {error}", 1
    return f"internal error: {type(error).__name__}: {error}\nThis is a bug; run again with --debug to see where.", 70


def _retries(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The states of `--retry`, each once."""
    known = (
        "truncated",
        "unfaithful",
        "unanswered",
        "failed",
    )  # as factory.repair.retrying.Retry; failed ones always are
    asked = tuple(dict.fromkeys(one.strip() for one in (value or "").split(",") if one.strip()))
    for one in asked:
        if one not in known:
            raise click.BadParameter(f"'{one}' is none of {', '.join(known)}")
    return asked


@command("run")
@RECIPE
@SET
@OUT
@LIMIT
@click.option(
    "--fresh", is_flag=True, help="Set an older run in this directory aside (it is kept in before-*/) and start anew."
)
@click.option(
    "--retry",
    metavar="STATES",
    callback=_retries,
    help="Try once more what is truncated, unfaithful (by the recipe's repair) or unanswered; several with commas.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def run_command(
    recipe: str,
    overrides: tuple[str, ...],
    out: str | None,
    limit: int | None,
    fresh: bool,
    retry: tuple[Any, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a recipe: caption what is missing, score, select, release, report.

    Run it again after a crash, a Ctrl-C or a change of the recipe: only what is missing is done. A release stands for the
    recipe it was made with.

    \b
    Example:
      factory run recipes/quickstart.yaml --set views.detailed.sampling.n=2 --out runs/two
      factory run hub:org/web-recaption@v1.2.0 --set release.to=datasets/again
    """
    from factory.pipeline import run_recipe
    from factory.recipe import load_recipe, recipe_yaml
    from factory.releasing.released_recipe import recipe_file

    loaded = load_recipe(recipe_file(recipe), overrides)
    out = out or f"runs/{loaded.name}"
    outcome = run_recipe(loaded, recipe_yaml(loaded), out, limit, fresh, quiet or as_json, retry)
    if as_json:
        click.echo(json.dumps(outcome.summary()))
    else:
        for line in outcome.lines():
            click.echo(line)


@command("plan")
@RECIPE
@SET
@OUT
@LIMIT
@JSON
def plan_command(recipe: str, overrides: tuple[str, ...], out: str | None, limit: int | None, as_json: bool) -> None:
    """Show what a run would do: what is reused, what is done again and why. Starts no engine.

    \b
    Example:
      factory plan recipes/quickstart.yaml --set filters.length.params.min_words=4
    """
    from exports.storage import Storage
    from factory.judging.judge_report import plan_lines, plan_summary
    from factory.recipe import load_recipe
    from factory.releasing.released_recipe import recipe_file
    from factory.runs.run import Run
    from factory.work.plan import make_plan

    loaded = load_recipe(recipe_file(recipe), overrides)
    plan = make_plan(loaded, Run(Storage(out or f"runs/{loaded.name}")), limit)
    if as_json:
        click.echo(json.dumps(plan.summary() | plan_summary(plan)))
    else:
        click.echo("\n".join([*plan.lines(), *plan_lines(plan)]))


@command("preview")
@RECIPE
@SET
@OUT
@click.option("-n", "--images", type=click.IntRange(1, 192), default=16, show_default=True, help="How many images.")
@JSON
def preview_command(recipe: str, overrides: tuple[str, ...], out: str | None, images: int, as_json: bool) -> None:
    """Take a few images through everything and write an HTML page of image, captions and verdicts. Releases nothing.

    \b
    Example:
      factory preview recipes/quickstart.yaml -n 16
    """
    from exports.storage import Storage
    from factory.pipeline import run_recipe
    from factory.recipe import load_recipe, recipe_yaml
    from factory.releasing.released_recipe import recipe_file
    from factory.runs.run import Run
    from factory.work.calibrations import copy_calibrations

    loaded = load_recipe(recipe_file(recipe), overrides).model_copy(update={"release": None})
    out = out or f"runs/{loaded.name}.preview"
    copy_calibrations(Run(Storage(f"runs/{loaded.name}")), Run(Storage(out)))
    outcome = run_recipe(loaded, recipe_yaml(loaded), out, images, quiet=as_json)
    click.echo(json.dumps(outcome.summary()) if as_json else f"preview: {outcome.report}")


@command("filter")
@click.argument("source")
@click.option("--out", required=True, metavar="RUN", help="Run directory, local or any fsspec URL.")
@click.option("--filters", "file", metavar="FILE", help="YAML file with filters (and select), as in a recipe.")
@click.option("--text", metavar="COLUMN", help="Column or extension that holds the caption.")
@click.option("--image", metavar="COLUMN", help="Column that holds the image.")
@click.option("--id", "key", metavar="COLUMN", help="Column that holds a unique id.")
@SET
@LIMIT
@click.option("--fresh", is_flag=True, help="Set an older run in this directory aside and start anew.")
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def filter_command(
    source: str,
    out: str,
    file: str | None,
    text: str | None,
    image: str | None,
    key: str | None,
    overrides: tuple[str, ...],
    limit: int | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score captions that others made, and decide which to keep. Needs no captioner and no GPU.

    SOURCE is a file or folder of captions (.parquet, .jsonl, .csv, .txt), of images with captions, WebDataset tars, or
    a dataset on disk or on the Hub (hub:org/name@revision).

    \b
    Example:
      factory filter captions.jsonl --out runs/theirs --text caption
      factory select runs/theirs --set select.require.repetition=0.9
    """
    from factory.filtering import filter_recipe, run_name
    from factory.pipeline import run_recipe
    from factory.recipe import recipe_yaml

    recipe = filter_recipe(source, run_name(out), file, overrides, text=text, image=image, id=key)
    outcome = run_recipe(recipe, recipe_yaml(recipe), out, limit, fresh, quiet or as_json)
    click.echo(json.dumps(outcome.summary()) if as_json else "\n".join(outcome.lines()))


@command("select")
@click.argument("run")
@SET
@JSON
def select_command(run: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Decide again which captions of a run to keep, with other rules. Scores nothing and starts no engine.

    \b
    Example:
      factory select runs/theirs --set select.require.repetition=0.9 --set select.keep_top.quality=0.5
    """
    from factory.filtering import select_again
    from factory.runs.run import find_run

    outcome = select_again(find_run(run), overrides)
    click.echo(json.dumps(outcome) if as_json else "\n".join(_selection_lines(outcome)))


def _selection_lines(outcome: dict[str, Any]) -> list[str]:
    selection = outcome["selection"]
    lines = [f"captions {selection['captions']:,}, {selection['kept']:,} kept (before: {outcome['before']:,})"]
    lines += [f"  dropped {number:,} {reason}" for reason, number in selection["dropped"].items()]
    return [*lines, f"report   {outcome['report']}"]


@command("export")
@click.argument("target", metavar="RUN|RELEASE")
@click.option(
    "--to", metavar="DIR", help="Directory of the release's versions (local or any fsspec URL); of --format, a new one."
)
@click.option("--version", metavar="X.Y.Z", help="Version of the release.  [default: the next minor version]")
@click.option("--license", metavar="ID", help="Licence of the captions, as on the Hub (cc-by-4.0).")
@click.option(
    "--rewrite",
    multiple=True,
    type=click.Choice(["refusal", "opener", "cut_sentence", "pii"]),
    help="Rewrite the released captions so; may be repeated.",
)
@click.option("--uids", metavar="FILE", help="Write DataComp's sorted ids of what was kept (.npy) instead.")
@click.option(
    "--format", type=click.Choice(EXPORT_FORMATS), help="Write a release in a trainer's format (docs/formats.md)."
)
@click.option("--view", metavar="NAME", help="Of --format: the kept caption of this view, not the released one.")
@click.option("--prompt", "prompts", multiple=True, help="Of --format: ask one of these questions; may be repeated.")
@click.option(
    "--shard-mb", type=click.IntRange(min=1), help="Of --format: about how large a file becomes.  [default: 500]"
)
@JSON
def export_command(target: str, as_json: bool, **options: Any) -> None:
    """Release what a finished run selected, write the ids of it, or write a release in a trainer's format.

    A release is hub:org/name@v1.2.0, its directory, the directory of its versions, or the run that made it.

    \b
    Example:
      factory export runs/theirs --to datasets/theirs --version 1.2.0 --license cc-by-4.0
      factory export runs/theirs --to datasets/theirs --rewrite refusal --rewrite pii
      factory export runs/theirs --uids kept.npy
      factory export hub:org/theirs@v1.2.0 --format sft --to theirs-sft
      factory export datasets/theirs --version 1.2.0 --format llava --to theirs-llava --view spatial
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    _check_export(target, given)
    if "format" in given:
        _export_format(target, given, as_json)
    elif "uids" in given:
        _export_uids(target, given["uids"], as_json)
    else:
        _export_release(target, given, as_json)


def _check_export(target: str, given: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    if "format" in given:
        what, known = f"--format {given['format']}", {"format", "to", "version", "view", "prompts", "shard_mb"}
    elif "uids" in given:
        what, known = "--uids", {"uids"}
    else:
        what, known = "a release", {"to", "version", "license", "rewrite"}
    names = {"prompts": "--prompt", "shard_mb": "--shard-mb"}
    wrong = [names.get(name, f"--{name}") for name in given if name not in known]
    if wrong and what == "a release":
        raise click.UsageError(f"{', '.join(wrong)} goes with --format, which writes a release as a trainer reads it")
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)} does not go with {what}")
    if "to" in known and "to" not in given:
        raise click.UsageError("give --to DIR" + ("" if "format" in given else ", or --uids FILE"))
    is_release = target.startswith("hub:") or (Path(target) / "manifest.json").exists()
    if is_release and "format" not in given:
        raise click.UsageError(f"{target} is a release already; give --format, or name a run")
    if target.startswith("hub:") and "version" in given:
        raise click.UsageError("name the version in the address: hub:org/name@v1.2.0")


def _export_format(target: str, given: dict[str, Any], as_json: bool) -> None:
    from factory.releasing.export_format import export_format

    done = export_format(target, report=_progress(as_json), **given)
    click.echo(json.dumps(done.summary()) if as_json else "\n".join(done.lines()))


def _export_uids(target: str, file: str, as_json: bool) -> None:
    from factory.releasing.export_run import export_uids
    from factory.runs.run import find_run

    number = export_uids(find_run(target), file)
    click.echo(json.dumps({"uids": file, "rows": number}) if as_json else f"uids     {file} ({number:,} images)")


def _export_release(target: str, given: dict[str, Any], as_json: bool) -> None:
    from factory.releasing.export_run import export_release
    from factory.report.collect import LEFT_OUT
    from factory.runs.run import find_run

    result, left_out = export_release(find_run(target), **given)
    if as_json:
        click.echo(json.dumps({**asdict(result), "left_out": left_out}))
        return
    click.echo(f"release  {result.url} ({result.rows:,} rows{'' if result.is_new else ', unchanged'})")
    for reason, count in left_out.items():
        click.echo(f"         {count:,} {LEFT_OUT[reason]}")


@command("train-quality")
@click.option("--good", required=True, metavar="SOURCE", help="Captions as they should be.")
@click.option("--bad", required=True, metavar="SOURCE", help="Captions as they should not be.")
@click.option("--out", required=True, metavar="FILE", help="Where the model goes (.bin).")
@click.option("--text", metavar="COLUMN", help="Column that holds the caption in both.")
@JSON
def train_quality_command(good: str, bad: str, out: str, text: str | None, as_json: bool) -> None:
    """Train the fastText classifier of the filter `quality`.

    \b
    Example:
      factory train-quality --good human.jsonl --bad spam.jsonl --out quality.bin
      factory filter captions.jsonl --out runs/theirs --filters filters.yaml     # filters: [quality: {model: quality.bin}]
    """
    from factory.filtering import texts_of
    from filters import train_quality

    trained = train_quality(texts_of(good, text), texts_of(bad, text), out)
    if as_json:
        click.echo(json.dumps(asdict(trained)))
        return
    left_out = ", ".join(f"{number:,} {reason}" for reason, number in trained.left_out.items() if number)
    click.echo(f"trained on {trained.trained:,} captions" + (f" (left out: {left_out})" if left_out else ""))
    click.echo(f"on {trained.held_out:,} others: AUROC {trained.auroc:.3f}, accuracy {trained.accuracy:.3f}")
    click.echo(f"model    {trained.path}")


@command("status")
@click.argument("run")
@JSON
def status_command(run: str, as_json: bool) -> None:
    """Say how far a run is; works while it runs.

    \b
    Example:
      factory status runs/quickstart
    """
    from factory.runs.run import find_run
    from factory.status import run_status

    status = run_status(find_run(run))
    click.echo(json.dumps(status.summary()) if as_json else "\n".join(status.lines()))


@command("report")
@click.argument("run")
@JSON
def report_command(run: str, as_json: bool) -> None:
    """Draw the HTML report of a run again, from its tables.

    \b
    Example:
      factory report runs/quickstart
    """
    from factory.report.collect import rewrite_report
    from factory.runs.run import find_run

    path = rewrite_report(find_run(run))
    click.echo(json.dumps({"report": path}) if as_json else f"report: {path}")


@command("calibrate")
@click.argument("run")
@click.option(
    "--labels",
    metavar="FILE",
    help="image_key, view, candidate, label (of sentences: start too); Parquet, CSV or JSONL.",
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
    click.echo(json.dumps(made.summary()) if as_json else "\n".join(made.lines()))
    if made.reference is not None and made.calibrations[0].threshold is None:
        sys.exit(1)


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
        click.echo(json.dumps(compared.as_json()) if as_json else "\n".join(compared.lines()))
        return
    if set_ := [f"--{name}" for name, value in given.items() if value is not None]:
        raise click.UsageError(f"{', '.join(set_)} needs --references FILE")
    from factory.evaluation.by_truth import evaluate
    from factory.runs.run import find_run
    from factory.work.plan import reopen

    found = evaluate(reopen(find_run(run)))
    click.echo(json.dumps(found.as_json()) if as_json else "\n".join(found.lines()))


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
        click.echo(json.dumps([one.as_json() for one in found]))
        return
    click.echo("\n\n".join("\n".join(one.lines()) for one in found))
    if out is not None:
        click.echo(f"differ   {out} ({sum(one.only_first + one.only_second for one in found):,} answers)")


@command("publish")
@click.argument("release", metavar="RELEASE|RUN")
@click.option("--to", required=True, metavar="hub:ORG/NAME", help="Dataset on the Hub; created where it is missing.")
@click.option("--version", metavar="X.Y.Z", help="Which version.  [default: that of RELEASE, or the newest]")
@click.option("--private", is_flag=True, help="Create the dataset as a private one.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be sent; change nothing.")
@click.option("--force-card", is_flag=True, help="Replace a README.md that was edited by hand.")
@JSON
def publish_command(
    release: str, to: str, version: str | None, private: bool, dry_run: bool, force_card: bool, as_json: bool
) -> None:
    """Publish a release to the Hub: one commit, verified, then a tag that never moves.

    Run it again after whatever broke it: it reads what is on the Hub and goes on from there.

    \b
    Example:
      factory publish datasets/web-recaption --to hub:org/web-recaption --version 1.2.0 --dry-run
    """
    from exports.address import parse_address
    from exports.hub import prepare_process
    from exports.local_release import find_release
    from exports.publish import publish
    from factory.releasing.release_folder import release_folder

    address = parse_address(to)
    found = find_release(release_folder(release), version)
    prepare_process()
    _quiet_bars(as_json)
    published = publish(
        found, address, private=private, dry_run=dry_run, force_card=force_card, report=_progress(as_json)
    )
    click.echo(json.dumps(published.summary()) if as_json else "\n".join(published.lines()))


@command("verify")
@click.argument("target", metavar="hub:ORG/NAME@vX.Y.Z|DIR")
@JSON
def verify_command(target: str, as_json: bool) -> None:
    """Compare every byte of a release with its manifest, on the Hub or in a directory.

    \b
    Example:
      factory verify hub:org/web-recaption@v1.2.0
    """
    from exports.hub import prepare_process
    from exports.verify import verify

    if target.startswith("hub:"):
        prepare_process()
    verified = verify(target, report=_progress(as_json))
    click.echo(json.dumps(verified.summary()) if as_json else "\n".join(verified.lines()))
    if verified.problems:
        sys.exit(1)


@command("diff")
@click.argument("before", metavar="hub:ORG/NAME@vX.Y.Z|DIR|RUN")
@click.argument("after", metavar="hub:ORG/NAME@vX.Y.Z|DIR|RUN")
@click.option("--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Rows shown of each change.")
@JSON
def diff_command(before: str, after: str, examples: int, as_json: bool) -> None:
    """Compare two versions of a release: rows, captions, images, scores, drop reasons.

    No image is read or fetched.

    \b
    Example:
      factory diff hub:org/web-recaption@v1.1.0 datasets/web-recaption/1.2.0
    """
    from exports.diff import diff
    from exports.hub import prepare_process
    from factory.releasing.release_folder import release_folder

    targets = [target if target.startswith("hub:") else release_folder(target) for target in (before, after)]
    if any(str(target).startswith("hub:") for target in targets):
        prepare_process()
    found = diff(*targets, examples=examples)
    click.echo(json.dumps(found.summary()) if as_json else "\n".join(found.lines()))


def _progress(as_json: bool) -> Callable[[str], None] | None:
    return None if as_json else lambda line: click.echo(line, err=True)


def _quiet_bars(as_json: bool) -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if as_json or not sys.stderr.isatty():
        disable_progress_bars()


@command("filters")
@click.argument("name", required=False)
@JSON
def filters_command(name: str | None, as_json: bool) -> None:
    """List the filters, or explain one with its parameters.

    \b
    Example:
      factory filters repetition
    """
    from factory.filter_pages import filter_list, filter_page

    click.echo(filter_page(name, as_json) if name else filter_list(as_json))


@command("schema")
@click.option("--out", "file", type=click.Path(path_type=Path), help="Write to a file instead of the terminal.")
def schema_command(file: Path | None) -> None:
    """Print the JSON Schema of recipes, so that editors complete and check them.

    \b
    Example:
      factory schema --out recipes/recipe.schema.json
    """
    from factory.recipe import recipe_schema

    text = json.dumps(recipe_schema(), indent=2) + "\n"
    if file is None:
        click.echo(text, nl=False)
    else:
        file.write_text(text)
        click.echo(f"schema: {file}")


@command("doctor")
@JSON
def doctor_command(as_json: bool) -> None:
    """Check this machine: GPU, engine, torchvision, Ray, disk, Hub token; say what is missing and how to get it.

    \b
    Example:
      factory doctor
    """
    from factory.doctor import examine

    checks = examine()
    if as_json:
        click.echo(json.dumps([check.summary() for check in checks]))
    else:
        for check in checks:
            click.echo(check.line())
    if any(check.state == "missing" for check in checks):
        sys.exit(1)


def main() -> None:
    """The `factory` command."""
    signal.signal(signal.SIGTERM, _terminate)
    cli()


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
