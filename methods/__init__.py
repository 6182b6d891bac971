"""What the papers propose and what they compare with. One idea, one file; nothing here knows the machine."""
