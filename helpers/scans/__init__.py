"""Reading scans and masks, whatever their format, onto one axis order."""
