"""The networks and the cascade: from a volume to labels on its own grid."""
