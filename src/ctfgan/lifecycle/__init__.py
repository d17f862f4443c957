"""A trained generator whose classes change: renamed, dropped, mapped, added, trained on (decision 25)."""
