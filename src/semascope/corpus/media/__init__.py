"""Files to pictures, frames and text, with bounds on what is decoded."""
