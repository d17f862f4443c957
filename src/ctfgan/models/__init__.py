"""Networks, one file per idea; sizes for every resolution in widths.py."""
