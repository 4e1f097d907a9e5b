"""What requests may say and answers hold, field by field, and the way from one to rows and back."""
