"""Commands about releases: export, publish, verify, diff."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from factory.cli.app import JSON, command, say

EXPORT_FORMATS = (  # exports.formats.FORMATS
    "sft", "messages", "llava", "sharegpt", "webdataset", "text", "energon",
    "preference", "preference_sharegpt", "preference_swift",
)  # fmt: skip


class _FormatName(click.Choice[str]):
    """A format of this package, or one that a plugin brought."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        if value not in EXPORT_FORMATS:
            from exports.formats import known_formats

            if value in known_formats():
                return str(value)
        return super().convert(value, parameter, context)


def _load_plugins(context: click.Context, parameter: click.Parameter, files: tuple[str, ...]) -> None:
    """Before `--format` is looked at, which they may bring."""
    from factory.plugins import PluginError, load_plugin

    for file in files:
        try:
            load_plugin(file)
        except PluginError as error:
            raise click.BadParameter(str(error)) from None


def _version(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A version as releases have it; 'v1.2.0', as tags are written, is the same."""
    from exports.release import SEMVER

    version = value.removeprefix("v") if value else value
    if version and version != "auto" and not SEMVER.fullmatch(version):
        raise click.BadParameter(f"'{value}' is no version; write three numbers, for example 1.2.0")
    return version


@command("export")
@click.argument("target", metavar="RUN|RELEASE")
@click.option(
    "--to", metavar="DIR", help="Directory of the release's versions (local or any fsspec URL); of --format, a new one."
)
@click.option(
    "--version", callback=_version, metavar="X.Y.Z", help="Version of the release.  [default: the next minor version]"
)
@click.option("--license", metavar="ID", help="Licence of the captions, as on the Hub (cc-by-4.0).")
@click.option("--image-license", metavar="ID", help="Licence of all images, where rows do not name their own.")
@click.option("--repository", metavar="ORG/NAME", help="Dataset on the Hub that it will be published to, for its card.")
@click.option(
    "--rewrite",
    multiple=True,
    type=click.Choice(["html", "mojibake", "reasoning", "refusal", "opener", "cut_sentence", "pii"]),
    help="Rewrite the released captions so; may be repeated.",
)
@click.option("--uids", metavar="FILE", help="Write DataComp's sorted ids of what was kept (.npy) instead.")
@click.option(
    "--format", type=_FormatName(EXPORT_FORMATS), help="Write a release in a trainer's format (docs/formats.md)."
)
@click.option("--view", metavar="NAME", help="Of --format: the kept caption of this view, not the released one.")
@click.option("--prompt", "prompts", multiple=True, help="Of --format: ask one of these questions; may be repeated.")
@click.option(
    "--shard-mb", type=click.IntRange(min=1), help="Of --format: about how large a file becomes.  [default: 500]"
)
@click.option(
    "--rejected-by",
    multiple=True,
    metavar="FILTER",
    help="Of --format preference...: only what this filter turned down is a rejected caption; may be repeated.  [default: any]",
)
@click.option(
    "--plugin",
    multiple=True,
    metavar="FILE.py",
    is_eager=True,
    expose_value=False,
    callback=_load_plugins,
    help="Load formats of your own from a file (docs/plugins.md); may be repeated.",
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
        what, known = (
            f"--format {given['format']}",
            {"format", "to", "version", "view", "prompts", "shard_mb", "rejected_by"},
        )
    elif "uids" in given:
        what, known = "--uids", {"uids"}
    else:
        what, known = "a release", {"to", "version", "license", "image_license", "repository", "rewrite"}
    names = {"prompts": "--prompt", "shard_mb": "--shard-mb", "rejected_by": "--rejected-by"}
    wrong = [names.get(name, f"--{name.replace('_', '-')}") for name in given if name not in known]
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
    say(json.dumps(done.summary()) if as_json else "\n".join(done.lines()))


def _export_uids(target: str, file: str, as_json: bool) -> None:
    from factory.releasing.export_run import export_uids
    from factory.runs.run import find_run

    number = export_uids(find_run(target), file)
    say(json.dumps({"uids": file, "rows": number}) if as_json else f"uids     {file} ({number:,} images)")


def _export_release(target: str, given: dict[str, Any], as_json: bool) -> None:
    from exports.licences import licence_problem
    from factory.outcome import LEFT_OUT
    from factory.releasing.export_run import export_release
    from factory.runs.run import find_run

    result, left_out = export_release(find_run(target), **given)
    for name in ("license", "image_license"):
        problem = licence_problem(given[name]) if name in given else None
        if problem:
            say(f"warning: --{name.replace('_', '-')}: {problem}; this release cannot be published so", err=True)
    if as_json:
        say(json.dumps({**asdict(result), "left_out": left_out}))
        return
    say(f"release  {result.url} ({result.rows:,} rows{'' if result.is_new else ', unchanged'})")
    for reason, count in left_out.items():
        say(f"         {count:,} {LEFT_OUT[reason]}")


@command("publish")
@click.argument("release", metavar="RELEASE|RUN")
@click.option("--to", required=True, metavar="hub:ORG/NAME", help="Dataset on the Hub; created where it is missing.")
@click.option(
    "--version", callback=_version, metavar="X.Y.Z", help="Which version.  [default: that of RELEASE, or the newest]"
)
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
    say(json.dumps(published.summary()) if as_json else "\n".join(published.lines()))


@command("verify")
@click.argument("target", metavar="hub:ORG/NAME@vX.Y.Z|DIR")
@JSON
def verify_command(target: str, as_json: bool) -> None:
    """Compare a release with its manifest, on the Hub or in a directory: every byte, and rows, ids, columns, version, licence.

    \b
    Example:
      factory verify hub:org/web-recaption@v1.2.0
    """
    from exports.hub import prepare_process
    from exports.verify import verify

    if target.startswith("hub:"):
        prepare_process()
    verified = verify(target, report=_progress(as_json))
    say(json.dumps(verified.summary()) if as_json else "\n".join(verified.lines()))
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
    say(json.dumps(found.summary()) if as_json else "\n".join(found.lines()))


def _progress(as_json: bool) -> Callable[[str], None] | None:
    return None if as_json else lambda line: say(line, err=True)


def _quiet_bars(as_json: bool) -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if as_json or not sys.stderr.isatty():
        disable_progress_bars()
