"""Work that outgrows one process: tasks by content, a store of results, and who does them, here or on a cluster."""
