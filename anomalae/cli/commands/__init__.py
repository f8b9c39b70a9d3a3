"""One file a command, each thin; they are imported when they are called."""
