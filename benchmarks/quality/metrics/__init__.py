"""How good a stylized picture is, one measure per module: pure functions over arrays."""
