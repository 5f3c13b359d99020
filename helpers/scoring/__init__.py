"""From masks to tables, numbers and reasons."""
