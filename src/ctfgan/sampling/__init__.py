"""Images from a bundle."""

from ctfgan.sampling.layouts import Layout
from ctfgan.sampling.model import Model, OwnImages, Samples, from_pretrained, image_files, load
from ctfgan.sampling.plan import Plan, plan, plan_balanced
from ctfgan.sampling.points import Point
from ctfgan.sampling.set_folder import check_set_folder
from ctfgan.sampling.sets import MadeSet, layout_for, write_set

__all__ = [
    "Layout",
    "MadeSet",
    "Model",
    "OwnImages",
    "Plan",
    "Point",
    "Samples",
    "check_set_folder",
    "from_pretrained",
    "image_files",
    "layout_for",
    "load",
    "plan",
    "plan_balanced",
    "write_set",
]
