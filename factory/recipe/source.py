"""Where images come from: one model for each kind of source."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import Field, model_validator

from factory.recipe.part import Part


class ImageFiles(Part):
    """What the sources of image files share."""

    detect: Literal["stat", "bytes"] = Field(
        default="stat",
        description="How a run notices that an image or its text changed under the same key. stat: its file's size, time or tag is "
        "another. bytes: every image is read and compared each time, which costs a read of the whole source.",
    )


class FolderSource(ImageFiles):
    """Images in a folder, searched recursively; the image key is the path relative to the folder.

    Captions come from `metadata.jsonl` or `metadata.csv` (`file_name` and a text column, as in `datasets`' imagefolder)
    or from `.txt` / `.json` files beside the images. Every other file is a row, also one that is no image.
    """

    kind: Literal["folder"] = "folder"
    path: str = Field(description="Folder, local or any fsspec URL (s3://..., hf://...).")
    text: str | None = Field(
        default=None,
        description="Column of metadata.jsonl/.csv or key of .json that holds the caption; unset: the first that is there of "
        "text, caption, captions, ...",
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Columns of metadata.jsonl/.csv to carry into the release, such as url or license."
    )


class ParquetSource(ImageFiles):
    """Parquet files with an image column: bytes, struct<bytes, path>, or a path relative to `root`."""

    kind: Literal["parquet"] = "parquet"
    path: str = Field(description="File, folder or glob, local or any fsspec URL.")
    image: str = Field(default="image", description="Column with the image.")
    text: str | None = Field(
        default=None,
        description="Column with the original text; unset: the first that is there of text, caption, captions, ...",
    )
    key: str | None = Field(
        default=None, description="Column with a stable unique id; unset: sha256 of the image bytes."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )
    root: str | None = Field(
        default=None, description="Below which paths in image cells must lie; unset: the folder of the file."
    )


class WebDatasetSource(ImageFiles):
    """WebDataset tars: members that share a name up to the first dot are one sample."""

    kind: Literal["webdataset"] = "webdataset"
    path: str = Field(description="Tar, glob or {00000..00099} braces, local or any fsspec URL.")
    image: str = Field(
        default="jpg;jpeg;png;webp;gif;bmp;tif;tiff;avif;jp2;img",
        description="Extensions that hold the image, best first, joined by ';'.",
    )
    text: str | None = Field(
        default=None,
        description="Extension of the original text ('txt'), or 'json.FIELD'; unset: txt, or the first that is there of "
        "text, caption, captions, ...",
    )
    key: str | None = Field(
        default=None, description="'json.FIELD' with a stable unique id; unset: tar name and member name."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Fields of the samples' JSON to carry into the release, such as url or license."
    )


class HuggingFaceSource(ImageFiles):
    """A Hugging Face dataset, from the Hub or from disk. Image bytes are never re-encoded."""

    kind: Literal["huggingface"] = "huggingface"
    path: str = Field(description="Hub id (org/name) or a local directory.")
    revision: str | None = Field(default=None, description="Commit, tag or branch; needed for a Hub id.")
    config: str | None = Field(default=None, description="Configuration name.")
    split: str = Field(default="train", description="Split to read.")
    image: str = Field(default="image", description="Image column.")
    text: str | None = Field(
        default=None,
        description="Column with the original text; unset: the first that is there of text, caption, captions, ...",
    )
    key: str | None = Field(
        default=None, description="Column with a stable unique id; unset: sha256 of the image bytes."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )
    root: str | None = Field(
        default=None, description="Below which paths in image cells must lie; unset: the dataset's own directory."
    )


class CaptionsSource(Part):
    """Captions without images: Parquet, JSON lines, CSV, or plain text with a caption a line."""

    kind: Literal["captions"] = "captions"
    path: str = Field(
        description="File (.parquet, .jsonl, .csv, .txt; .gz too), folder or glob, local or any fsspec URL."
    )
    text: str | None = Field(
        default=None,
        description="Column with the caption; unset: the first that is there of text, caption, captions, ...",
    )
    key: str | None = Field(default=None, description="Column with a stable unique id; unset: a hash of file and text.")
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )


class UrlsSource(Part):
    """Addresses of images in the web, in Parquet, JSON lines, CSV, or plain text with an address a line. Each is fetched when it is
    read; a link that is dead is a row with its reason. Addresses of this machine and of private networks are refused.
    """

    kind: Literal["urls"] = "urls"
    path: str = Field(
        description="File (.parquet, .jsonl, .csv, .tsv, .txt; .gz too), folder or glob, local or any fsspec URL."
    )
    url: str | None = Field(
        default=None, description="Column with the address; unset: the first that is there of url, image_url, ..."
    )
    text: str | None = Field(
        default=None,
        description="Column with the original text; unset: the first that is there of text, caption, captions, ...",
    )
    key: str | None = Field(default=None, description="Column with a stable unique id; unset: the address.")
    fields: tuple[str, ...] = Field(
        default=(), description="Columns to carry into the release, such as url or license."
    )
    timeout_s: float = Field(default=30.0, gt=0, le=3600, description="Seconds for one image.")
    retries: int = Field(default=2, ge=0, le=20, description="Further tries where a server fails or asks to wait.")
    per_host_per_s: float = Field(
        default=5.0, gt=0, le=1000, description="Requests a second to one host, by each worker."
    )
    allow_loopback: bool = Field(default=False, description="Ask servers of this machine too.")


class DemoSource(Part):
    """The demo world: small drawn scenes, no download."""

    kind: Literal["demo"] = "demo"
    scenes: int = Field(default=512, ge=1, le=100_000_000, description="How many scenes.")
    seed: int = Field(default=0, ge=0, description="Which world.")
    text: Literal["alt", "web", "truth", "question", "none"] = Field(
        default="alt",
        description="The original texts. alt: alt-texts, file names and advertising, of 60 % of the scenes. web: a caption of "
        "every scene, wrong in the share `wrong` of its facts. truth: true captions, for labels. "
        "question: a question about the scene and its true answer. none: no texts.",
    )
    wrong: float = Field(default=0.6, ge=0, le=1, description="Of web: the share of facts told wrong, or not told.")
    errors: dict[Literal["swapped", "neighbour", "omitted"], float] = Field(
        default={"swapped": 0.5, "neighbour": 0.25, "omitted": 0.25},
        min_length=1,
        description="Of web: how facts are wrong, with weights. swapped: one attribute changed. neighbour: a sentence of another "
        "scene. omitted: left out.",
    )

    @model_validator(mode="after")
    def _web_alone_is_wrong(self) -> DemoSource:
        usual = {name: DemoSource.model_fields[name].default for name in ("wrong", "errors")}
        if self.text != "web" and usual != {"wrong": self.wrong, "errors": self.errors}:
            raise ValueError(f"wrong and errors belong to text: web; the text is {self.text}")
        if any(weight < 0 for weight in self.errors.values()) or not sum(self.errors.values()) > 0:
            raise ValueError("errors: weights are at least 0, and one is above")
        return self


Source = Annotated[
    Union[FolderSource, ParquetSource, WebDatasetSource, HuggingFaceSource, CaptionsSource, UrlsSource, DemoSource],
    Field(discriminator="kind"),
]
