"""What three rooms or more use; knows no other room."""
