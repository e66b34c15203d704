"""The files of one study to images and volumes: headers first, then what was chosen is decoded."""
