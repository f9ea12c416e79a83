"""Who speaks when in a recording: the record of a turn, and the file formats that hold turns."""
