"""What Django projects use beyond the fix-up."""
