"""What every figure is drawn on: print sizes, panels and what goes into which, colours and fonts, the three files."""
