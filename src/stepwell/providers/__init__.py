"""What is known of providers: the dialects in which they speak of quota."""
