"""The three networks of a DBAE: score U-Net, encoder, endpoint decoder."""
