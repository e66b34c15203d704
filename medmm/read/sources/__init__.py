"""Where studies come from: folders, archives, media with a DICOMDIR, DICOMweb servers."""
