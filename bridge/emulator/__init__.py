"""An RTZR that runs here, for demos, tests and benchmarks. It hears code-book words, never real speech."""
