"""Read networks: NIR and lava-dl netx, told apart by content."""
