"""What counts as a photo. Standard library only: the configuration asks this too."""

PHOTO_SUFFIXES = (".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
