"""SpiNNaker 2 as py-spinnaker2 programs it; `second.md` beside this folder is its data sheet."""
