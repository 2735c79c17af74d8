"""From a field to a mesh, for all engines; and from a mesh to the files that people open."""
