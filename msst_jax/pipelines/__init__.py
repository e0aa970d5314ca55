"""Files to files: photos and videos stylized, masks exported, models trained."""
