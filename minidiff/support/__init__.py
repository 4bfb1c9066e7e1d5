"""What every room stands on and no lesson teaches: guards for arguments, seeds, sizes, files, tables of text."""
