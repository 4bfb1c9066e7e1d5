"""What to train, by name: FAMILY-DATA -> `Recipe`. Each file is a world of data and has a table RECIPES of its own."""

import importlib
import pkgutil

from minidiff.recipes.recipe import Recipe, Trained

__all__ = ["RECIPES", "Recipe", "Trained"]

RECIPES: dict[str, Recipe] = {}
for _world in pkgutil.iter_modules(__path__):
    RECIPES |= getattr(importlib.import_module(f"{__name__}.{_world.name}"), "RECIPES", {})
