"""The audio side: everything between a device and a distilled model. Imports no training code and no GUI."""
