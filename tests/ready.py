"""Views that are ready to be asked, without a recipe around them."""

from __future__ import annotations

from typing import Any

from factory.models.resolve import Model
from factory.recipe import View
from factory.work.fingerprint import image_fingerprint
from factory.work.views import ReadyView


def ready_view(path: str = "org/judge", **settings: Any) -> ReadyView:
    """A view of a model that lies at `path`."""
    view = View.model_validate({"name": "judge", "model": path, "prompts": [{"text": "-"}], "canary": False} | settings)
    return ReadyView(view, Model(path, path, "0" * 16, is_local=True), None, ("",), image_fingerprint(view), 0)
