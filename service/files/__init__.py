"""Files that jobs train on: uploaded once, checked, kept until they are deleted."""
