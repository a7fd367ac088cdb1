"""Pictures of tables, fronts, networks and engines: data, charts, and the files that hold them."""
