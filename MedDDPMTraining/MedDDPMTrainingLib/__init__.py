"""Logic of the module MedDDPM Training; needs neither Qt nor a main window."""
