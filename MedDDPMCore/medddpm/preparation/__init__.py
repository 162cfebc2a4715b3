"""From a folder of scans to a prepared dataset."""
