"""From volumes to stored slices, splits and lists."""
